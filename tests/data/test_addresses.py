"""Presidents' addresses: passages of whole sentences, and that no address is in both parts."""

import pytest

from clbench.data.content_digest import data_sha256
from clbench.data.deterministic_sampling import least
from clbench.data.integrity import folder_digest, search_path
from clbench.data.sources import Addresses
from clbench.data.sources.addresses import passages
from clbench.errors import ConfigError, DataError
from clbench.instantiate import instantiate
from tests.data.test_conf import node
from tests.data.text_files import COMMON

GIVEN = {"anne_b_early_f": range(1800, 1805), "carl_late_d": range(1900, 1908), "dora_short_r": range(2000, 2002)}


def written(root, given=GIVEN):
    """Write addresses of ten sentences of six words, each naming its file; return the folder's sum by its path."""
    folder = root / "sotu"
    folder.mkdir(parents=True)
    for president, years in given.items():
        for year in years:
            text = " ".join(f"This is {president} in {year} {number}." for number in range(10))
            (folder / f"{year}_{president}.txt").write_text(text)
    return {"sotu": folder_digest(folder)}


def source(folders, **said):
    own = {"name": "presidents", "folders": folders, "addresses": 5, "passage": 10, "test_share": 0.25}
    return Addresses(**(COMMON | own | said))


def years(part):
    return {text.split()[4] for text in part.texts}


def test_passages_are_runs_of_whole_sentences():
    text = 'One two three. "Four five six!" Seven 3.5 percent? (Eight nine.) ten.\nEleven  twelve thirteen. Fourteen.'
    assert passages(text, 3) == [
        "One two three.",
        '"Four five six!"',
        "Seven 3.5 percent?",
        "(Eight nine.) ten.",
        "Eleven twelve thirteen.",
    ]
    assert passages(text, 7) == [
        'One two three. "Four five six!" Seven 3.5 percent?',
        "(Eight nine.) ten. Eleven twelve thirteen. Fourteen.",
    ]
    assert passages("One two", 3) == passages("", 3) == []


def test_no_address_is_in_both_parts(tmp_path):
    found = source(written(tmp_path)).texts([tmp_path])
    assert found.names == ("Anne B Early", "Carl Late"), "in the order of the first address; two addresses are too few"
    assert not years(found.train) & years(found.test)
    assert len(years(found.train)) == 3 + 6
    assert len(years(found.test)) == 2 + 2, "a quarter of either's addresses, rounded up"
    assert len(found.train.texts) == 5 * 9, "five passages of two sentences an address"
    for part in (found.train, found.test):
        named = [found.names[label].split()[0].lower() for label in part.classes]
        assert named == [text.split()[2].split("_")[0] for text in part.texts]


def test_the_division_follows_the_names_alone(tmp_path):
    first = source(written(tmp_path / "a")).texts([tmp_path / "a"])
    again = source(written(tmp_path / "b"), passage=20).texts([tmp_path / "b"])
    assert years(first.test) == years(again.test)
    more = {**GIVEN, "dora_short_r": range(2000, 2006)}
    assert years(first.test) < years(source(written(tmp_path / "c", more)).texts([tmp_path / "c"]).test)
    names, mixed = ["a", "b", "c"], ["c", "a", "b"]
    assert [names[row] for row in least(names)] == [mixed[row] for row in least(mixed)]


def test_a_share_leaves_an_address_to_either_part(tmp_path):
    found = source(written(tmp_path), addresses=2, test_share=0.99).texts([tmp_path])
    assert len(found.names) == 3
    assert set(found.train.classes) == set(found.test.classes) == {0, 1, 2}


def test_equal_passages_once_and_shared_ones_never(tmp_path):
    folders = written(tmp_path)
    common = "We thank the whole Congress for all that it did. "
    for path in (tmp_path / "sotu").iterdir():
        mine = "Our party thanks each and every one of its voters. " if "carl" in path.name else ""
        path.write_text(common + mine + path.read_text())
    folders = {"sotu": folder_digest(tmp_path / "sotu")}
    found = source(folders).texts([tmp_path])
    texts = found.train.texts + found.test.texts
    assert not [text for text in texts if "Congress" in text]
    assert sum("voters" in text for text in texts) == 1


def test_both_forms_are_loaded(tmp_path):
    folders = written(tmp_path)
    classes = source(folders).load([tmp_path])
    assert classes.train.inputs.shape[0] == 45
    assert classes.train.targets.unique().tolist() == [0, 1]
    answers = source(folders, form="answers", template="{text}\nBy:", length=128)
    loaded = answers.load([tmp_path])
    assert loaded.train.answers.shape[0] == 2
    assert answers.words.decode([t for t in loaded.train.answers[1].tolist() if t >= 0]) == " Carl Late"


@pytest.mark.parametrize("addresses", [1, 9])
def test_too_few_presidents(tmp_path, addresses):
    with pytest.raises(ConfigError, match=f"addresses={addresses}"):
        source(written(tmp_path), addresses=addresses).texts([tmp_path])


def test_files_that_are_absent_or_changed(tmp_path):
    folders = written(tmp_path)
    with pytest.raises(DataError, match="data set presidents: sotu was not found") as caught:
        source(folders).load([tmp_path / "elsewhere"])
    assert "docs/data.md" in caught.value.remedy
    (tmp_path / "sotu" / "1800_anne_b_early_f.txt").unlink()
    with pytest.raises(DataError, match="14 files, the sha256 over names"):
        source(folders).load([tmp_path])
    (tmp_path / "sotu" / "notes.txt").write_text("Not an address.")
    with pytest.raises(DataError, match=r"notes\.txt: its name is not YEAR_PRESIDENT_PARTY"):
        source({"sotu": folder_digest(tmp_path / "sotu")}).load([tmp_path])


def test_identity_follows_the_declared_sum():
    shipped = node("presidents")
    other = shipped | {"folders": {"sotu": "0" * 64}}
    assert len({data_sha256(each, []) for each in (shipped, other, shipped | {"passage": 41})}) == 3


def test_real_addresses():
    made = instantiate(node("presidents"), "scenario.dataset")
    try:
        found = made.texts(search_path(None))
    except DataError as error:
        pytest.skip(str(error))
    assert len(found.names) == made.n_classes
    assert [found.names[c] for c in (0, 6, 13)] == ["Thomas Jefferson", "Theodore Roosevelt", "Barack Obama"]
    assert not set(found.train.texts) & set(found.test.texts)
    for part, least_many in ((found.train, made.train_per_class), (found.test, made.test_per_class)):
        assert min(part.classes.count(label) for label in range(14)) >= least_many
