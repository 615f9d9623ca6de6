"""The two arguments of every scenario function: its options, from the configuration, and its access to the data.

A scenario of your own follows the same pattern; its configuration node names the function and holds the fields of the options:

    @dataclass(frozen=True, kw_only=True)
    class MineOptions(ScenarioOptions):
        dataset: Source
        n_tasks: Count

    def mine(options: MineOptions, access: DataAccess) -> Stream: ...

`make_stream` checks each value against the type hint of its field. A function that takes the keys of its node as keyword
arguments works, too; it may also take each field of `DataAccess` as a keyword argument.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import Field

from clbench.errors import ConfigError
from clbench.instantiate import instantiate, locate, parameters
from clbench.scenarios.task_range import part_of_stream
from clbench.stream import Measured, Outputs, Setting, Stream
from clbench.utils.rng import generator

OrderSeed = int | Literal["seed"] | None
"""Order of classes or tasks: canonical (None), drawn from an integer, or drawn from the seed of the run ("seed")."""
Count = Annotated[int, Field(ge=1)]
Accuracy = Annotated[float, Field(ge=0, le=1)]
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class ScenarioOptions:
    """The keys that all scenarios share. Each scenario adds its own keys in a subclass.

    Args:
        setting: `task`, `domain` or `class`.
        outputs: `seen` or `all`.
        valid_fraction: share of each task's training samples that is held out, per class.
        online: read by the trainer; the stream is the same.
    """

    setting: Setting
    outputs: Outputs
    valid_fraction: Annotated[float, Field(ge=0, lt=1)]
    online: bool


@dataclass(frozen=True)
class DataAccess:
    """Where the data of a run comes from and goes to.

    Args:
        seed: of the run.
        data_sha256: digest of all data, and of every change to the data before it comes into the pools.
        search: folders to search, first to last.
        download: whether missing data may be fetched.
        device: of the pools.
        split: what is measured (`eval.split`). For `valid`, `clbench.scenarios.stream_builder.load` gives an empty test pool. For
            `valid` and `both`, no task learns from the validation samples of another one.
    """

    seed: int
    data_sha256: str
    search: Sequence[Path]
    download: bool = False
    device: torch.device = CPU
    split: Measured = "test"


def make_stream(node: Mapping[str, Any], access: DataAccess) -> Stream:
    """Return the stream that the configuration node of a scenario describes.

    Args:
        node: `_target_` names the scenario function; the other keys are its options. `task_range` keeps some of the tasks
            (`clbench.scenarios.task_range`).
        access: to the data.

    Raises:
        ConfigError: no such function; an unknown or missing key; a value of another type or out of bounds; a function that calls
            one of this package with keyword arguments of an earlier version.
    """
    function = locate(node.get("_target_"), "scenario")
    made = options_class(function)
    own, task_range = dict(node), None
    if "task_range" not in parameters(made or function)[0]:  # a scenario of the user's own may have a key of this name
        task_range = own.pop("task_range", None)
    try:
        if made is None:
            return part_of_stream(instantiate(own, "scenario", **vars(access)), task_range)
        options = instantiate({**own, "_target_": f"{made.__module__}.{made.__qualname__}"}, "scenario")
        return part_of_stream(function(options, access), task_range)
    except (ConfigError, TypeError) as error:
        called = _shipped_function(error if isinstance(error, TypeError) else error.__cause__)
        if called is None:
            raise
        raise ConfigError(
            f"scenario._target_={node['_target_']} calls {called} with other arguments than it takes: {error.__cause__ or error}",
            f"scenario functions of clbench take (options, access) now: call {called}(options, access); "
            "see CONTRIBUTING.md, and clbench/scenarios/scenario_options.py for the two arguments",
        ) from error


def _shipped_function(error: BaseException | None) -> str | None:
    """Return the name of the scenario function of this package that was called with wrong arguments; None for other errors."""
    found = re.match(r"(\w+)\(\) (got|missing|takes) .*argument", str(error)) if isinstance(error, TypeError) else None
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("clbench.scenarios.")]
    functions = [getattr(module, found[1], None) for module in modules] if found else []
    return found[1] if found and any(inspect.isfunction(each) and options_class(each) for each in functions) else None


def options_class(function: Callable[..., Any]) -> type | None:
    """Return the dataclass of a scenario function's parameter `options`; None if the function takes its keys one by one."""
    if isinstance(function, type) or not {"options", "access"} <= set(inspect.signature(function).parameters):
        return None
    hint = get_type_hints(function).get("options")
    return hint if isinstance(hint, type) and is_dataclass(hint) else None


def draw_order(order_seed: OrderSeed, seed: int, n: int, purpose: str) -> list[int]:
    """Return an order of `n` items: 0, 1, 2, ... if `order_seed` is None, else drawn from (the seed it names, purpose)."""
    if order_seed is None:
        return list(range(n))
    return torch.randperm(n, generator=generator(seed if order_seed == "seed" else order_seed, purpose)).tolist()
