"""A client with one sample, where the model cannot train on one, is left out of the rounds; the run goes on."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.errors import ConfigError
from clbench.run_spec import RunSpec
from tests.federated.common import federated_spec, ready


class Normed(nn.Module):
    """A linear layer and BatchNorm."""

    def __init__(self, input_shape: Any) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(64, 8), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.linear(x.flatten(1))))


@dataclass
class Lone:
    """Client 0 gets all samples but one for each of the others. With `all_lone`, nobody gets the rest."""

    all_lone: bool

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        one = [torch.tensor([i]) for i in range(clients - 1)]
        return [torch.tensor([clients - 1]) if self.all_lone else torch.arange(clients - 1, len(labels)), *one]


def spec(folder: Path, *overrides: str, method: str = "naive", normed: bool = True, all_lone: bool = False) -> RunSpec:
    found = federated_spec("scenario.n_tasks=5", *overrides, method=method, folder=folder)
    config = copy.deepcopy(found.config)
    config["federated"]["partition"] = {"_target_": f"{__name__}.Lone", "all_lone": all_lone}
    if normed:
        config["model"] = {"_target_": f"{__name__}.Normed"}
    return replace(found, config=config)


@pytest.mark.parametrize("method", ["naive", "ewc", "er"])
def test_lone_clients_are_left_out_and_said(tmp_path: Path, method: str) -> None:
    told: list[str] = []
    weak = ["method.strength=0.01"] if method == "ewc" else []
    run, training = ready(spec(tmp_path, *weak, method=method), told)
    record = run.run()
    assert training.samples > 0
    assert [entry["federated"]["left_out"] for entry in record.result["diagnostics"]] == [[1, 2, 3]] * 5
    said = [text for text in told if "left out" in text]
    assert len(said) == 5
    assert "3 clients are left out of the rounds of task 0 (1, 2, 3): each owns one sample" in said[0]
    assert "backbone.norm (BatchNorm1d)" in said[0]


def test_the_others_train_as_if_alone(tmp_path: Path) -> None:
    """With one able client, every round is that client's own pass."""
    run, training = ready(spec(tmp_path))
    run.training.learn(run.stream.tasks[0])
    able = len(run.stream.tasks[0].clients[0])  # type: ignore[index]
    assert training.samples == able * training.federated.rounds_of(0) * training.federated.local_epochs


def test_models_that_take_one_sample_leave_nobody_out(tmp_path: Path) -> None:
    told: list[str] = []
    run, _ = ready(spec(tmp_path, normed=False), told)
    run.training.learn(run.stream.tasks[0])
    assert "left_out" not in run.training.diagnostics()["federated"]
    assert not [text for text in told if "left out" in text]


@pytest.mark.parametrize("overrides", [["trainer.batch_size=1"], []])
def test_a_task_on_which_no_client_can_train_is_refused_before_training(
    tmp_path: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = r"trainer.batch_size=1: the layer" if overrides else r"no client owns two samples of task 0"
    monkeypatch.setattr("clbench.runs.factory.check_clients", lambda stream, name: None)  # samples without a client
    with pytest.raises(ConfigError, match=expected):
        ready(spec(tmp_path, *overrides, all_lone=not overrides))
