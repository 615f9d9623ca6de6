"""How a run is executed: one field of a dataclass and one line of YAML for each key."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import yaml

from clbench.config.hydra_compose import Composer, conf_dir
from clbench.config.job import execution, make_job
from clbench.errors import ConfigError
from clbench.execution import OTHER_KEYS, Execution
from clbench.run_spec import RunSpec


def test_each_runner_key_is_one_field_and_one_line_with_the_same_default(composer: Composer) -> None:
    node = yaml.safe_load((conf_dir() / "runner" / "default.yaml").read_text())
    assert {*node, *OTHER_KEYS} == {field.name for field in fields(Execution)}
    made = execution(composer([]).config)
    assert made == Execution(search=made.search)


def test_every_setting_reaches_the_worker_whole(composer: Composer) -> None:
    words = ["runner.compile=default", "runner.wait=null", "data.share=0.25", "data.root=/x", "device=cpu", "runner.workers=3"]
    (spec,) = make_job(composer(words), composer).specs()
    expected = Execution(compile="default", wait=None, residence_share=0.25, search=["/x"], device="cpu", workers=3)
    assert spec.execution == expected
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+runner.grap=true", "unknown key runner.grap=True for the node runner\n  -> did you mean runner.graph?"),
        (
            "runner.workers=-1",
            "greater than or equal to 0, or 'auto'\n  -> give runner.workers as an integer (at least 0) or auto",
        ),
        ("runner.wait=soon", "runner.wait='soon': input should be a valid number"),
        ("runner.memory_margin=0.5", "give runner.memory_margin as a number (at least 1)"),
        ("runner.memory_share=0", "give runner.memory_share as a number (above 0, up to 1)"),
        ("~runner.memory_unknown.cuda", "runner.memory_unknown={'cpu': 1}"),
        ("device=tpu", "give device as auto or cpu or cuda (CUDA_VISIBLE_DEVICES selects among GPUs)"),
        ("data.residence=cloud", "give data.residence as auto or device or host or disk"),
    ],
)
def test_an_error_names_key_value_and_remedy(composer: Composer, word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_job(composer([word]), composer)
    assert said in str(caught.value)
