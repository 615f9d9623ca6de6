"""State that a checkpoint could not give back is refused before the checkpoint is written."""

from __future__ import annotations

import collections
import copy
import datetime
import enum
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clbench.engine.replay.memory import Memory
from clbench.engine.resumable import check_diagnostics, check_state
from clbench.errors import RefusedError
from clbench.federated.servers.base import Server
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.runs import checkpoint
from clbench.testing import check_resumes
from clbench.testing.make_run import make_spec, run
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learner_for

Pair = collections.namedtuple("Pair", "a b")


class Colour(enum.IntEnum):
    RED = 1


LOST: dict[str, Callable[[], Any]] = {
    "numpy.ndarray": lambda: np.zeros(2),
    "numpy.float64": lambda: np.float64(1),
    "numpy.bool": lambda: np.bool_(True),
    "frozenset": lambda: frozenset([1]),
    "collections.defaultdict": lambda: collections.defaultdict(list),
    "collections.deque": lambda: collections.deque([1]),
    "Pair": lambda: Pair(1, 2),
    "Colour": lambda: Colour.RED,
    "PosixPath": lambda: pathlib.PurePosixPath("x"),
    "datetime.datetime": lambda: datetime.datetime(2020, 1, 1),
    "Generator": torch.Generator,
    "Linear": lambda: torch.nn.Linear(1, 1),
    "function": lambda: lambda: 1,
    "generator": lambda: (i for i in ()),
}
KEPT: dict[str, Callable[[], Any]] = {
    "tuple": lambda: (1, (2.0, "x")),
    "set": lambda: {1, 2},
    "counter": lambda: collections.Counter("aab"),
    "ordered": lambda: collections.OrderedDict(b=1, a=2),
    "keys": lambda: {(0, 1): None, 3: True},
    "complex": lambda: 1 + 2j,
    "bytes": lambda: b"x",
    "dtype": lambda: torch.float16,
    "size": lambda: torch.Size([2, 3]),
}


@dataclass
class Keeper(Method):
    """Keeps what it is given."""

    def keep(self, value: Any) -> Keeper:
        self.kept = value
        return self


@pytest.mark.parametrize("kind", LOST)
def test_a_value_that_would_be_lost_is_named(kind: str) -> None:
    for value, place in ((LOST[kind](), "Keeper.kept"), ({"x": [0, LOST[kind]()]}, "Keeper.kept['x'][1]")):
        method = Keeper().keep(value)
        with pytest.raises(RefusedError) as error:
            check_state(method, method.state())
        assert str(error.value).startswith(f"{place} is a ")
        assert kind in str(error.value)
        assert "load_state" in error.value.remedy


def test_a_key_that_would_be_lost_is_named() -> None:
    method = Keeper().keep({np.int64(3): 1})
    with pytest.raises(RefusedError, match=r"a key of Keeper.kept, np.int64\(3\), is a numpy.int64"):
        check_state(method, method.state())


def test_a_container_within_itself_is_named() -> None:
    state: dict[str, Any] = {"loop": []}
    state["loop"].append(state["loop"])
    with pytest.raises(RefusedError, match="contains itself"):
        check_state(Keeper(), state)


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_accepted_comes_back_with_its_type(kind: str, tmp_path: Path) -> None:
    value = KEPT[kind]()
    method = Keeper().keep(value)
    state = method.state()
    check_state(method, state)
    checkpoint.save(tmp_path, 0, {"method": state})
    found = checkpoint.load(tmp_path, torch.device("cpu"))
    assert found is not None
    fresh = Keeper()
    fresh.load_state(None, found[1]["method"])  # type: ignore[arg-type]
    assert type(fresh.kept) is type(value)
    assert fresh.kept == value


def test_memories_in_a_list_come_back_as_memories() -> None:
    learner = learner_for(blob_stream())
    first, second = (Keeper().keep([Memory(learner, 4, name=str(i)) for i in range(2)]) for _ in range(2))
    first.kept[1].offer(learner.stream.tasks[0].train.rows[:3], 0)
    second.load_state(learner, first.state())
    assert [len(memory) for memory in second.kept] == [0, 3]


def test_the_own_state_of_a_method_is_named_as_such() -> None:
    class Own(Method):
        def state(self) -> dict[str, Any]:
            return {"table": np.zeros(2)}

    with pytest.raises(RefusedError, match=r"Own.state\(\)\['table'\] is a numpy.ndarray"):
        check_state(Own(), Own().state())


def test_a_part_of_a_composition_is_named() -> None:
    method = Compose({"ewc": shipped("ewc"), "mine": Keeper().keep(np.zeros(1))})
    with pytest.raises(RefusedError, match=r"Keeper.kept is a numpy.ndarray"):
        check_state(method, {"ewc": {}, "mine": method.parts["mine"].state()})


@dataclass
class Late(Method):
    """Keeps an array from the end of its first task on."""

    def end_task(self, learner: Any, task: Any, history: Any) -> None:
        self.means = np.zeros(3)


@dataclass
class Early(Method):
    """Keeps an array from the start."""

    def setup(self, learner: Any, stream: Any) -> None:
        self.means = np.zeros(3)

    def begin_task(self, learner: Any, task: Any) -> None:
        raise AssertionError("the state of setup is refused before training")


@dataclass
class Telling(Method):
    """Reports a number of NumPy."""

    def diagnostics(self) -> dict[str, Any]:
        return {"norm": {"mean": np.float64(1)}}


@dataclass
class Averaging(Server):
    """A server rule that keeps an array."""

    def end_round(self, learner: Any, task: Any, round: int) -> None:
        self.mean = np.zeros(1)


def node(kind: type) -> dict[str, str]:
    return {"_target_": f"{__name__}.{kind.__name__}"}


@pytest.mark.parametrize(("kind", "place"), [(Late, "Late.means"), (Early, "Early.means"), (Telling, "Telling.norm")])
def test_a_run_is_refused_at_its_first_task(kind: type, place: str, tmp_path: Path) -> None:
    expected = place.replace("Telling.norm", "Telling.diagnostics()['norm']['mean']")
    with pytest.raises(RefusedError) as error:
        run(make_spec(node(kind), results_dir=tmp_path))
    assert str(error.value).startswith(f"{expected} is a numpy.")
    assert not list(tmp_path.rglob("*.pt"))


def test_the_conformance_kit_refuses_it_too() -> None:
    with pytest.raises(RefusedError, match=r"Late.means is a numpy.ndarray"):
        check_resumes(node(Late), [], [])


@pytest.mark.parametrize("where", ["client", "server"])
def test_a_federated_run_is_refused_at_its_first_task(where: str, tmp_path: Path) -> None:
    spec = make_spec(
        node(Late) if where == "client" else "naive",
        ["+federated=iid", "federated.clients=2", "federated.rounds=1"],
        results_dir=tmp_path,
    )
    if where == "server":
        config = copy.deepcopy(spec.config)
        config["federated"]["server"] = node(Averaging) | {"weighting": "samples"}
        spec = replace(spec, config=config)
    with pytest.raises(RefusedError, match=r"(Late.means|Averaging.mean) is a numpy.ndarray"):
        run(spec)


def test_plain_diagnostics_pass() -> None:
    check_diagnostics(Keeper(), {"a": [1, 2.0, None], "b": {"c": ("x", True)}, 3: {}})
