"""The sentiment domains and Debian's sections: what is read, and that nothing that belongs together straddles the two parts."""

import re
from collections import Counter

import pytest

from clbench.data.deterministic_sampling import plain
from clbench.data.integrity import search_path
from clbench.data.sources import Sections, Sentiment
from clbench.errors import ConfigError, DataError
from tests.data.test_conf import node
from tests.data.text_files import COMMON, write_sections, write_sentiment

ROWS = {
    "tweets": [
        ("1", 2.5, "Great “day” &amp; night"),
        ("2", -3, "awful"),
        ("3", 0.1, "a day"),
        ("4", 0.5, "at the bound"),
    ]
    + [(str(i), (-1) ** i, f"tweet {i}") for i in range(5, 60)],
    "amazon": [(f"{i}_{j}", (-1) ** j, f"sentence {j} of {i}") for i in range(1, 20) for j in range(4)]
    + [("20_1", 1, "Tweet  7"), ("20_2", -1, "only here"), ("21_1", 2, "twice"), ("22_1", 2, "twice"), ("22_2", -2, "more of 22")]
    + [("23_1", 2, "of two minds"), ("24_1", -2, "Of two minds")],
}


def sentiment(root, domain, **said):
    files = write_sentiment(root, ROWS)
    own = {
        "name": domain,
        "domain": domain,
        "files": files,
        "documents": ("amazon", "nyt"),
        "bounds": (-0.5, 0.5),
        "test_share": 0.3,
    }
    return Sentiment(**(COMMON | own | said))


def test_sentences_and_their_classes(tmp_path):
    found = sentiment(tmp_path, "tweets").texts([tmp_path])
    both = dict(zip(found.train.texts + found.test.texts, found.train.classes + found.test.classes))
    assert len(both) == 57
    assert both["Great “day” &amp; night"] == 1, "without the carriage return, otherwise as it is"
    assert both["awful"] == 0
    assert "a day" not in both
    assert "at the bound" not in both
    assert found.names == ("negative", "positive")


def test_documents_and_equal_sentences_go_to_one_part(tmp_path):
    for share in (0.1, 0.3, 0.5, 0.7):
        parts = {d: sentiment(tmp_path, d, test_share=share).texts([tmp_path]) for d in ("tweets", "amazon")}
        place = {plain(text): name for found in parts.values() for name, part in parts_of(found) for text in part.texts}
        for i in range(1, 20):
            assert len({place[f"sentence {j} of {i}"] for j in range(4)}) == 1
        assert place["only here"] == place["tweet 7"], "a sentence of another domain ties its document to it"
        assert place["twice"] == place["more of 22"]
    texts = parts["amazon"].train.texts + parts["amazon"].test.texts
    assert texts.count("twice") == 1
    assert not [text for text in texts if plain(text) == "of two minds"], "two classes for one sentence: it is left out"


def parts_of(found):
    return (("train", found.train), ("test", found.test))


def test_which_part_depends_on_the_sentences_alone(tmp_path):
    first = sentiment(tmp_path / "a", "amazon").texts([tmp_path / "a"])
    ROWS["amazon"].reverse()
    try:
        again = sentiment(tmp_path / "b", "amazon").texts([tmp_path / "b"])
    finally:
        ROWS["amazon"].reverse()
    assert set(map(plain, first.test.texts)) == set(map(plain, again.test.texts))


def test_a_domain_that_no_file_has(tmp_path):
    with pytest.raises(ConfigError, match="domain='news'"):
        sentiment(tmp_path, "news").texts([tmp_path])


def test_files_that_are_missing_or_changed(tmp_path):
    source = sentiment(tmp_path, "tweets")
    with pytest.raises(DataError, match=r"sentiment/tweets\.tsv was not found") as caught:
        source.load([tmp_path / "elsewhere"])
    assert str(tmp_path / "elsewhere") in caught.value.what
    (tmp_path / "sentiment" / "nyt.tsv").write_text("1\t2\tchanged\n")
    with pytest.raises(DataError, match=r"nyt\.tsv is damaged or another file"):
        source.load([tmp_path])


def test_a_line_with_other_columns_or_without_a_score(tmp_path):
    for line, message in ((("1", "2\t3", "x"), "line 1: 4 columns"), (("1", "high", "x"), "line 1: 'high' is not a score")):
        files = write_sentiment(tmp_path, {"movies": [line]})
        with pytest.raises(DataError, match=message):
            sentiment_of(files).texts([tmp_path])


def sentiment_of(files):
    own = {"name": "movies", "domain": "movies", "files": files, "bounds": (-0.5, 0.5), "test_share": 0.3}
    return Sentiment(**(COMMON | own))


PACKAGES = (
    [("web", f"web server {i}") for i in range(30)]
    + [("libs", f"library number {i % 10} - {kind}") for i in range(30) for kind in ("runtime", "headers", "documentation")]
    + [("net", f"client {i % 5} (flavour {i})") for i in range(25)]
    + [
        ("tiny", "one"),
        ("web", "in two sections"),
        ("net", "In two sections"),
        ("net", "Office suite -- a"),
        ("web", "office suite: b"),
    ]
)


def sections(root, **said):
    own = {
        "name": "sections",
        "files": write_sections(root, PACKAGES, " a line that goes on\n .\n"),
        "sections": 3,
        "order": "name",
    }
    return Sections(**(COMMON | own | {"test_share": 0.4} | said))


def test_the_largest_sections_by_name_or_by_size(tmp_path):
    assert sections(tmp_path).texts([tmp_path]).names == ("libs", "net", "web")
    assert sections(tmp_path, order="size").texts([tmp_path]).names == ("libs", "web", "net")
    assert sections(tmp_path, sections=2).texts([tmp_path]).names == ("libs", "web")
    with pytest.raises(ConfigError, match="sections=5, its file has 4"):
        sections(tmp_path, sections=5).texts([tmp_path])


def test_descriptions_with_one_head_go_to_one_part(tmp_path):
    for share in (0.2, 0.4, 0.6):
        found = sections(tmp_path, test_share=share).texts([tmp_path])
        heads = [{re.split(r" - | \(| -- |: ", plain(text))[0] for text in part.texts} for _, part in parts_of(found)]
        assert heads[0]
        assert heads[1]
        assert not heads[0] & heads[1]
    texts = found.train.texts + found.test.texts
    assert len(texts) == 30 + 30 + 25 + 2, "equal descriptions once"
    assert "in two sections" not in map(plain, texts)
    assert not [text for text in texts if "goes on" in text]


def real(name, **said):
    """A shipped data set as its configuration has it, and what its files hold."""
    from clbench.instantiate import instantiate

    source = instantiate(node(name) | said, "scenario.dataset")
    try:
        return source, source.texts(search_path(None))
    except DataError as error:
        pytest.skip(str(error))


def test_real_sentiment():
    kept, where = {}, {}
    for domain in ("tweets", "amazon", "movies", "nyt"):
        _, found = real("sentiment", domain=domain)
        kept[domain] = (Counter(found.train.classes), Counter(found.test.classes))
        for part, texts in parts_of(found):
            for text in texts.texts:
                assert where.setdefault(plain(text), part) == part, f"{text!r} is in both parts"
    total = {domain: sum(train.values()) + sum(test.values()) for domain, (train, test) in kept.items()}
    assert total == {"tweets": 3302, "amazon": 2935, "movies": 10041, "nyt": 2751}
    for train, test in kept.values():
        assert 0.15 < sum(test.values()) / (sum(train.values()) + sum(test.values())) < 0.25
        assert min(train.values()) >= 800
        assert min(test.values()) >= 200


def test_real_documents_do_not_straddle():
    """Sentences of one review or article, looked up in the files themselves."""
    for domain in ("amazon", "nyt"):
        _, found = real("sentiment", domain=domain)
        place = next(folder for folder in search_path(None) if (folder / "sentiment").is_dir())
        lines = (place / "sentiment" / f"{domain}.tsv").read_bytes().decode().split("\n")
        document = {plain(text): name.split("_")[0] for name, _, text in (line.split("\t") for line in lines if line)}
        train, test = ({document[plain(text)] for text in part.texts} for _, part in parts_of(found))
        assert not train & test
        assert len(train | test) > 290


def test_real_sections():
    source, found = real("sections")
    counts = Counter(found.train.classes)
    assert len(found.names) == 40
    assert list(found.names) == sorted(found.names)
    assert not {"electronics", "debug", "tasks"} & set(found.names)
    assert found.names[found.train.classes[0]] == "admin"
    assert min(counts.values()) >= source.train_per_class
    assert min(Counter(found.test.classes).values()) >= source.test_per_class
    assert len(found.train.texts) + len(found.test.texts) == 57957
    train, test = (set(map(plain, part.texts)) for _, part in parts_of(found))
    assert not train & test
    heads = [{re.split(r"\s+[-–—]+\s+|\s*\(|:\s", text)[0] for text in part} for part in (train, test)]
    assert not heads[0] & heads[1]
