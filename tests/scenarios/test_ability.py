"""What is measured beside the tasks: general ability, and the form of answers."""

import os
import shutil
from dataclasses import replace

import pytest
import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.data import answer_tokens
from clbench.data.integrity import search_path
from clbench.data.pool import Split
from clbench.data.sources import Prose
from clbench.engine.evaluation.accuracy import evaluate
from clbench.errors import ConfigError, DataError, RefusedError
from clbench.methods.naive import Naive
from clbench.scenarios.ability import add_ability_sets
from clbench.scenarios.scenario_options import DataAccess
from clbench.stream import EvaluationSet
from tests.riddles import riddle_stream, writer_for

WORDS = "The state of the union is what it is, and so are its bytes. " * 20


def node(**changes):
    return {
        "_target_": "clbench.data.sources.Prose",
        "name": "prose",
        "path": "talk",
        "pattern": "*.txt",
        "tokenizer": "bytes",
        "form": "answers",
        "length": 16,
        "rows": 5,
        "metric": "loss",
        "n_classes": 1,
        "mean": [],
        "std": [],
    } | changes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "b.txt").write_text(WORDS)
    (tmp_path / "talk" / "a.txt").write_text("First. ")
    return tmp_path


def source(**changes):
    return Prose(**{key: value for key, value in node(**changes).items() if key != "_target_"})


def test_prose_is_read_in_order_and_everything_but_the_first_token_is_to_be_written(folder):
    pool = source(rows=3).load([folder]).test
    assert pool.inputs.shape == (3, 16)
    assert (answer_tokens.counts(pool.inputs) == 15).all()
    assert bytes(answer_tokens.tokens(pool.inputs)[0].tolist()).decode() == "First. \n\nThe sta"
    assert (pool.vocabulary, pool.pad) == (259, 256)
    assert source(path="talk/b.txt").load([folder]).test.inputs.shape == (5, 16)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"path": "nothing"}, DataError, "no text at"),
        ({"rows": 10_000}, DataError, "give rows=7[0-9] or fewer"),
        ({"form": "classes"}, ConfigError, "model that writes"),
    ],
)
def test_bad_prose_is_refused(folder, changes, error, says):
    with pytest.raises(error, match=says):
        source(**changes).load([folder])


def test_without_a_wish_the_stream_is_the_one_that_came():
    stream = riddle_stream()
    assert add_ability_sets(stream, {"every": None, "ability": {}, "format": False}, DataAccess(0, "", [])) is stream


def test_format_has_a_column_for_every_task_behind_those_of_the_tasks():
    stream = add_ability_sets(riddle_stream(), {"format": True}, DataAccess(0, "", []))
    assert [column.role for column in stream.evaluation] == ["task"] * 3 + ["utility"] * 3
    learner = writer_for(stream)
    row = evaluate(learner, Naive(), stream.evaluation, 8)
    assert all(wrote >= right for (right, _), (wrote, _) in zip(row[:3], row[3:], strict=True))


def test_what_cannot_be_measured_is_refused(folder):
    with pytest.raises(ConfigError, match="vocabulary of 259 tokens, and the stream one of 20"):
        add_ability_sets(riddle_stream(), {"ability": {"talk": node()}}, DataAccess(0, "", [folder]))
    with pytest.raises(RefusedError, match="chooses among classes"):
        add_ability_sets(riddle_stream("class", form="classes"), {"format": True}, DataAccess(0, "", []))


def test_the_loss_is_the_mean_over_all_tokens(folder):
    stream = riddle_stream()
    pool = stream.tasks[0].train.pool
    rows = torch.randint(2, 20, (4, 11), generator=torch.Generator().manual_seed(0))
    rows[:, 1:] = ~rows[:, 1:]
    text = replace(pool, inputs=rows, targets=torch.zeros(4, dtype=torch.int64), answers=None)
    column = EvaluationSet("talk", Split(text, torch.arange(4), text.targets, 0), "utility", "loss")
    learner = writer_for(stream, "t5")
    ((total, n),) = evaluate(learner, Naive(), (column,), 3)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(learner.model(rows), answer_tokens.answer_ids(rows))
    assert n == 40
    assert total / n == pytest.approx(float(expected), rel=1e-5)


ASKED = ("model=smollm2", "scenario=sentiment_domains", "+ability@eval.ability.talk=prose", "model.tokenizer=bytes")


def asked(folder, *overrides):
    composer = new_composer()
    return make_job(composer([*ASKED, f"data.root={folder}:{SEARCH}", "eval.ability.talk.path=talk", *overrides]), composer)


SEARCH = os.pathsep.join(str(place) for place in search_path(None))


def test_what_is_read_is_part_of_a_records_identity_and_where_it_lies_is_not(folder, tmp_path_factory):
    first = asked(folder)
    identity = first.specs()[0].identity
    assert list(identity["ability_sha256"]) == ["talk"]
    assert "path" not in identity["eval"]["ability"]["talk"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(folder / "talk", elsewhere / "talk")
    (elsewhere / "talk" / "notes.md").write_text("not read")
    assert asked(elsewhere).specs()[0].id == first.specs()[0].id
    whole = asked(folder, f"eval.ability.talk.path={elsewhere / 'talk'}")
    assert whole.specs()[0].id == first.specs()[0].id
    (elsewhere / "talk" / "a.txt").write_text("Second.")
    assert asked(elsewhere).specs()[0].id != first.specs()[0].id
    assert asked(folder, "eval.ability.talk.rows=3").specs()[0].id != first.specs()[0].id


def test_texts_by_another_name_are_another_variant_and_missing_ones_are_told(folder):
    shutil.copytree(folder / "talk", folder / "other")
    (folder / "other" / "a.txt").write_text("Third.")
    assert "other" in asked(folder, "eval.ability.talk.path=other").variant
    with pytest.raises(DataError, match=r"no text at .*nothing"):
        asked(folder, "eval.ability.talk.path=nothing")


def test_without_a_wish_the_identity_is_as_before():
    composer = new_composer()
    identity = make_job(composer([]), composer).specs()[0].identity
    assert "ability_sha256" not in identity
    assert "ability" not in identity["eval"]


@pytest.mark.parametrize("bad", ["eval.ability=sotu", "+eval.ability.talk=sotu"])
def test_what_is_no_data_set_is_refused_by_name(bad):
    composer = new_composer()
    with pytest.raises(ConfigError, match=r"eval\.ability(\.talk)?='sotu' is no data set"):
        make_job(composer([bad]), composer)
