"""Classes in the wrong place are refused with what the place needs, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import make_job
from clbench.contract.kinds import KINDS, PAGE, check_kinds, nodes, refuse_torch
from clbench.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def composer() -> Composer:
    return new_composer()


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        (["optimizer._target_=torch.optim.RMSprop"], "an optimiser is a class like those in"),
        (["optimizer._target_=torch.optim.RMSprop", "optimizer.lr=0.1"], "an optimiser is a class like those in"),
        (["method._target_=torch.nn.Linear"], "a method is a class derived from clbench.method.Method"),
        (["scenario._target_=torch.nn.Linear"], "a scenario is a function of (options, access)"),
        (["scenario.dataset._target_=torchvision.datasets.MNIST"], "a data set is a class derived from"),
        (["trainer.schedule._target_=torch.optim.lr_scheduler.StepLR"], "a schedule is a class like those in"),
        (["logger.console._target_=torch.nn.Linear"], "a logger is a class derived from"),
        (["+federated=iid", "federated.server._target_=torch.nn.Linear"], "a server rule is a class derived from"),
        (["+federated=iid", "federated.partition._target_=torch.nn.Linear"], "a partition is a class with positions"),
    ],
)
def test_classes_of_torch_are_refused_before_a_run_starts(composer: Composer, words: list[str], noun: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_job(composer(words), composer)
    assert words[-1].partition("=")[2] in caught.value.what or words[0].partition("=")[2] in caught.value.what
    assert noun in caught.value.remedy
    assert PAGE in caught.value.remedy


@pytest.mark.parametrize("path", [path for path in KINDS if path not in ("model", "logger")])
def test_another_class_is_refused_before_it_is_called(path: str) -> None:
    config: dict[str, Any] = {"scenario": {"_target_": "clbench.scenarios.split.split"}} if path == "scenario.dataset" else {}
    place = config
    for part in path.split(".")[:-1]:
        place = place.setdefault(part, {})
    place[path.rpartition(".")[2]] = {"_target_": f"{__name__}.Explosive"}
    with pytest.raises(ConfigError, match=f"{path}._target_={__name__}.Explosive is no "):
        check_kinds(config)


class Explosive:
    """A class that must not be called."""

    def __init__(self) -> None:
        raise AssertionError("it was called")


@dataclass
class Own:
    """An optimiser that inherits from nothing."""

    lr: float = 0.1
    carry: bool = False
    plain = False

    def reset(self) -> None: ...
    def directions(self, names: Any, parameters: Any, gradients: Any) -> Any:
        return gradients

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None: ...


def test_a_class_with_the_members_of_its_kind_is_taken_and_sheds_the_protocol() -> None:
    check_kinds({"optimizer": {"_target_": f"{__name__}.Own"}})
    composer = new_composer()
    job = make_job(composer([f"optimizer._target_={__name__}.Own"]), composer)
    assert job.config["optimizer"] == {"_target_": f"{__name__}.Own"}  # lr of the protocol belongs to another class


def test_a_model_that_lacks_arguments_names_all_of_them() -> None:
    with pytest.raises(ConfigError) as caught:
        check_kinds({"model": {"_target_": "torch.nn.Linear"}})
    assert "needs in_features, out_features" in caught.value.what
    assert "+model.in_features=VALUE +model.out_features=VALUE" in caught.value.remedy
    composer = new_composer()
    words = ["model._target_=torch.nn.Linear", "+model.in_features=64", "+model.out_features=8"]
    check_kinds(make_job(composer(words), composer).config)


def test_what_is_shipped_is_of_its_kind(composer: Composer) -> None:
    for words in (
        [],
        ["+federated=shards", "federated/server=fot"],
        ["trainer/schedule=plateau", "optimizer=adamw", "logger=wandb"],
    ):
        job = make_job(composer(words), composer, named=False)
        config = {**job.config, "logger": job.logger}
        assert len(list(nodes(config))) >= 6
        refuse_torch(config)
        check_kinds(config)


def test_the_page_of_the_messages_has_a_row_for_each_kind() -> None:
    page, heading = PAGE.split(", ")
    text = (ROOT / page).read_text()
    section = text.partition(f"## {heading.strip(chr(34))}\n")[2].partition("\n## ")[0]
    for path in KINDS:
        assert f"`{path}" in section
