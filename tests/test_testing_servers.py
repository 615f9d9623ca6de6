"""The kit's checks of all shipped server rules, and of rules that break each promise."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from clbench.config.hydra_compose import conf_dir
from clbench.federated.servers.base import ClientPart, Server
from clbench.testing import check_server
from tests.command_line import clbench

RULES = sorted(path.stem for path in (conf_dir() / "federated" / "server").glob("*.yaml"))
METHODS = {"fedsvd": "seq_lora"}


@pytest.mark.parametrize("server", RULES)
def test_what_the_suite_ships_keeps_its_promises(server):
    check_server(server, METHODS.get(server, "naive"))


@dataclass
class Median(Server):
    """A correct rule with a state, a question to the clients, and its own message down."""

    share: float

    def setup(self, learner, stream):
        self.count = torch.zeros(())

    def aggregate(self, learner, start, mean):
        self.count = self.count + 1
        return {name: torch.lerp(start[name], tensor, self.share) for name, tensor in mean.items()}

    def client_message(self, learner, task, kind, payload):
        return {"samples": payload["factor"] * len(task.train)}

    def end_task(self, learner, task, ask):
        answer = ask("count", {"factor": torch.ones(())})
        assert 0 < float(answer["samples"]) <= len(task.train)  # those of the last round's participants


@dataclass
class Shrinking(Server):
    def aggregate(self, learner, start, mean):
        return {name: 0.9 * tensor for name, tensor in mean.items()}


@dataclass
class InPlace(Server):
    def aggregate(self, learner, start, mean):
        for name in mean:
            mean[name].add_(start[name]).mul_(0.5)
        return mean


@dataclass
class Misshaped(Server):
    def aggregate(self, learner, start, mean):
        return {name: tensor.flatten() for name, tensor in mean.items()}


@dataclass
class Stranger(Server):
    def aggregate(self, learner, start, mean):
        return mean | {"velocity": torch.zeros(3)}


@dataclass
class Dividing(Server):
    def aggregate(self, learner, start, mean):
        return {name: tensor / (tensor - tensor) for name, tensor in mean.items()}


@dataclass
class Forgetful(Server):
    """Stores its velocity outside of `state`."""

    def setup(self, learner, stream):
        self._velocity = {}

    def aggregate(self, learner, start, mean):
        moved = {}
        for name, tensor in mean.items():
            self._velocity[name] = 0.9 * self._velocity.get(name, torch.zeros_like(tensor)) + tensor - start[name]
            moved[name] = start[name] + self._velocity[name]
        return moved


@dataclass
class Telepathic(Server):
    """Reads the server's state at the clients."""

    def setup(self, learner, stream):
        self.seen = 0

    def aggregate(self, learner, start, mean):
        self.seen += 1
        return mean

    def client_message(self, learner, task, kind, payload):
        return {"seen": torch.tensor(float(self.seen))}

    def end_task(self, learner, task, ask):
        self.rounds = float(ask("rounds", {"x": torch.ones(1)})["seen"])
        with torch.no_grad():
            next(iter(learner.parameters.values())).mul_(1 - 0.01 * self.rounds)


@dataclass
class Guesser(Server):
    def aggregate(self, learner, start, mean):
        return {name: tensor * random.uniform(0.99999, 1.00001) for name, tensor in mean.items()}


@dataclass
class Misspelt(Server):
    def endround(self, learner, task, round):
        pass


def node(kind: type, **values) -> dict:
    return {"_target_": f"{__name__}.{kind.__name__}", "weighting": "samples", **values}


def test_a_rule_of_ones_own():
    check_server(node(Median, share=0.5))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Shrinking, "rests=False"),
        (InPlace, "in place"),
        (Misshaped, "of the shape"),
        (Stranger, "velocity"),
        (Dividing, "not finite"),
        (Forgetful, "a resumed run differs"),
        (Telepathic, "state at the server"),
        (Guesser, "two runs with the same seed differ|depends on its state"),
        (Misspelt, "looks like a hook"),
    ],
)
def test_broken_promises_are_found(kind, said):
    with pytest.raises(AssertionError, match=said):
        check_server(node(kind))


def test_a_rule_that_moves_on_its_own_may_say_so():
    check_server(node(Shrinking), rests=False)


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_the_clients_part_goes_with_it(mu):
    check_server({"_target_": "clbench.federated.servers.fedprox.FedProx", "weighting": "uniform", "mu": mu})


def test_a_part_is_a_method_that_is_told_what_came_down():
    assert ClientPart().data_free


def test_from_a_folder_of_ones_own(tmp_path: Path, monkeypatch, capsys):
    """Both ways: a file in the group, and `federated.server._target_`; the folder is importable then."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    (tmp_path / "rules" / "federated" / "server").mkdir(parents=True)
    (tmp_path / "rules" / "half_way.py").write_text(
        "from dataclasses import dataclass\n"
        "from clbench.federated.servers.base import Server\n\n"
        "@dataclass\nclass HalfWay(Server):\n"
        "    share: float = 0.5\n\n"
        "    def aggregate(self, learner, start, mean):\n"
        "        return {name: start[name] + self.share * (mean[name] - start[name]) for name in mean}\n"
    )
    (tmp_path / "rules" / "federated" / "server" / "half.yaml").write_text(
        "_target_: half_way.HalfWay\nversion: 1\nweighting: samples\nshare: 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    common = ["scenario=split_digits", "scenario.setting=task", "+federated=iid", "federated.rounds=1", "runner.workers=0"]
    for chosen in (["federated/server=half"], ["federated.server._target_=half_way.HalfWay", "+federated.server.share=0.25"]):
        assert clbench(monkeypatch, "--config-dir", "rules", *common, *chosen) == 0
        assert "1 trained" in capsys.readouterr().out
