"""The arguments of scenario functions: options from the node, access to the data, and plug-ins with keyword arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.data.sources.base import Source
from clbench.errors import ConfigError
from clbench.scenarios.scenario_options import Count, DataAccess, ScenarioOptions, draw_order, make_stream
from clbench.scenarios.split import SplitOptions, split
from clbench.stream import Stream
from tests.streams import Blobs, stream_from

COMMON = {"setting": "class", "outputs": "seen", "valid_fraction": 0.0, "online": False}
ACCESS = DataAccess(3, "blobs", [Path("data")])


@dataclass(frozen=True, kw_only=True)
class OwnOptions(ScenarioOptions):
    dataset: Source
    n_tasks: Count
    order: str = "usual"


def own(options: OwnOptions, access: DataAccess) -> Stream:
    shared = {key: getattr(options, key) for key in (*COMMON, "dataset", "n_tasks")}
    return split(SplitOptions(**shared, order_seed=None), access)


GOT: dict[str, Any] = {}


def keywords(
    *, dataset: Any, n_tasks: int, seed: int, data_sha256: str, search: Any, download: bool, device: torch.device, split: str
) -> Stream:
    GOT.update(seed=seed, data_sha256=data_sha256, search=search, download=download, device=device, split=split)
    return stream_from("split", dataset=dataset, n_tasks=n_tasks)


def node(name: str = "own", **keys: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{name}", "dataset": Blobs(), "n_tasks": 3} | ({} if name == "keywords" else COMMON) | keys


def test_a_scenario_of_ones_own_takes_options_and_access() -> None:
    assert make_stream(node(), ACCESS).fingerprint == stream_from("split", dataset=Blobs(), n_tasks=3, seed=3).fingerprint


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"n_taks": 3}, ["unknown key scenario.n_taks=3", "did you mean scenario.n_tasks"]),
        ({"n_tasks": 0}, ["scenario.n_tasks=0"]),
        ({"order": 3}, ["scenario.order=3"]),
        ({"online": "yes"}, ["scenario.online='yes'"]),
    ],
)
def test_each_option_is_checked(keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_stream(node(**keys), ACCESS)
    assert all(word in str(caught.value) for word in words)


def test_a_plugin_may_take_each_key_and_each_field_of_access_as_a_keyword_argument() -> None:
    assert len(make_stream(node("keywords"), ACCESS)) == 3
    assert vars(ACCESS) == GOT
    with pytest.raises(ConfigError, match=r"unknown key scenario\.order='x'"):
        make_stream(node("keywords", order="x"), ACCESS)


def ranged(*, dataset: Any, n_tasks: int, task_range: str) -> Stream:
    GOT["task_range"] = task_range
    return split(SplitOptions(**COMMON, dataset=dataset, n_tasks=n_tasks, order_seed=None), ACCESS)  # type: ignore[arg-type]


def test_a_key_of_the_users_own_named_task_range_is_theirs() -> None:
    made = {key: value for key, value in node("ranged", task_range="mine").items() if key not in COMMON}
    assert len(make_stream(made, ACCESS)) == 3
    assert GOT["task_range"] == "mine"


def test_orders() -> None:
    assert draw_order(None, 0, 5, "class order") == [0, 1, 2, 3, 4]
    assert draw_order("seed", 7, 20, "class order") == draw_order(7, 0, 20, "class order")
    assert draw_order(7, 0, 20, "class order") != draw_order(7, 0, 20, "task order")
    assert sorted(draw_order(7, 0, 20, "class order")) == list(range(20))


def earlier(setting: str, outputs: str, valid_fraction: float, online: bool, n_tasks: int, dataset: Source) -> Stream:
    """Call a shipped function as in an earlier version."""
    return split(dataset=dataset, setting=setting, n_tasks=n_tasks)  # type: ignore[call-arg]


def mixed(options: OwnOptions, access: DataAccess) -> Stream:
    """Take today's arguments, and call a shipped function as in an earlier version."""
    return split(n_tasks=options.n_tasks)  # type: ignore[call-arg]


def failing(options: OwnOptions, access: DataAccess) -> Stream:
    """Raise an error of its own."""
    raise TypeError("other() got an unexpected keyword argument 'x'")


@pytest.mark.parametrize("name", ["earlier", "mixed"])
def test_an_earlier_call_of_a_shipped_function_is_refused_with_its_arguments_of_today(name: str) -> None:
    with pytest.raises(ConfigError, match=r"calls split with other arguments .*unexpected keyword") as caught:
        make_stream(node(name), ACCESS)
    assert "call split(options, access)" in caught.value.remedy
    with pytest.raises(TypeError, match="other"):
        make_stream(node("failing"), ACCESS)
