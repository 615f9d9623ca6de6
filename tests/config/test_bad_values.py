"""Bad values of keys are refused in one message with key, value and remedy."""

from __future__ import annotations

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ConfigError, tidy
from clbench.instantiate import instantiate

REFUSED = {
    "scenario.online=-1": ("scenario.online=-1", "true or false"),
    "eval.drift={a:1}": ("eval.drift={'a': 1}", "true or false"),
    "seeds=1e20": ("seeds=1e+20", "an integer"),
    "runner.timeout=null": ("runner.timeout=None", "a number"),
    "scenario.setting=[[1],[2]]": ("scenario.setting=[[1], [2]]", "text"),
    "scenario.dataset=zebra": ("scenario.dataset=zebra", "scenario/dataset="),
    "runner.timeout=nan": ("runner.timeout=nan", "a number"),
    f"eval.batch_size={10**400}": ("eval.batch_size=1000", "an integer"),
}


@pytest.mark.parametrize("word", REFUSED, ids=lambda word: word[:40])
def test_a_bad_value_is_refused_with_key_value_and_remedy(word: str) -> None:
    composer = new_composer()
    with pytest.raises(ConfigError) as caught:
        make_job(composer([word]), composer, named=False)
    fault, remedy = REFUSED[word]
    assert fault in caught.value.what
    assert remedy in caught.value.remedy
    assert len(str(caught.value)) < 1000


def test_a_scale_of_zero_is_refused() -> None:
    composer = new_composer()
    node = composer(["scenario.dataset.scale=0"]).config["scenario"]["dataset"]
    with pytest.raises(ConfigError, match=r"scenario\.dataset\.scale=0"):
        instantiate(node, "scenario.dataset")


def test_a_message_shows_no_control_characters_and_no_endless_words() -> None:
    assert tidy("a\x1b[31mb\nc") == "a\\x1b[31mb\nc"
    assert len(tidy("x" * 5000)) < 200
