"""Old names of configuration keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import make_job
from clbench.config.renamed import RENAMED, rename_overrides


@pytest.fixture(autouse=True)
def _one_renamed_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RENAMED, "trainer.passes", "trainer.epochs")


def test_an_old_key_in_an_override_works_with_a_warning_that_names_the_new_one(composer: Composer) -> None:
    with pytest.warns(FutureWarning, match=r"trainer\.passes is now called trainer\.epochs"):
        job = make_job(composer(["trainer.passes=7"]), composer)
    assert job.specs()[0].id == make_job(composer(["trainer.epochs=7"]), composer).specs()[0].id


def test_an_old_key_in_a_file_works_and_wins_over_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "old.yaml").write_text("# @package _global_\ntrainer:\n  passes: 7\n")
    composer = new_composer([tmp_path])
    with pytest.warns(FutureWarning, match=r"trainer\.epochs"):
        job = make_job(composer(["+experiment=old", "scenario=split_mnist"]), composer)
    assert job.config["trainer"]["epochs"] == 7
    assert "passes" not in job.config["trainer"]


def test_other_words_stay_as_they_are() -> None:
    words = ["trainer.passes_more=1", "--config-dir", "x", "method=trainer.passes", "~trainer"]
    assert rename_overrides(words) == words


@pytest.mark.parametrize("word", ["trainer.passes=1,2", "+trainer.passes=1", "++trainer.passes=1", "~trainer.passes"])
def test_every_form_of_an_override_is_renamed(word: str) -> None:
    with pytest.warns(FutureWarning):
        assert rename_overrides([word]) == [word.replace("passes", "epochs")]
