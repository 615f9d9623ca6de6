"""A job: one configuration, ready to run for one or several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clbench.config.hydra_compose import Composed, Composer
from clbench.config.resolve import LATER_NODES, NODES, ability_digests, data_digest, given_keys, identity, names, resolve
from clbench.config.validators import compile_mode, count, device, one_of, residence, seconds, seeds, share, typed
from clbench.config.variant import variant
from clbench.data.integrity import search_path
from clbench.errors import ConfigError
from clbench.records import canonical, flatten
from clbench.run_spec import RunSpec


@dataclass(frozen=True)
class Job:
    """One configuration, for one or several seeds.

    Args:
        config: the nodes that objects are built from, settled.
        names: of method, scenario, model, optimizer.
        variant: the shortest difference from the defaults; see `clbench.config.variant`.
        seeds: one trial each.
        data_sha256: stands for the content of the data.
        ability_sha256: stands for that of each data set that general ability is measured on.
        neutral: dotted keys that are left out of the identity at the given value.
        logger: the logger's node.
        workers: processes side by side, or `auto`.
        memory: arguments of `clbench.runner.device_memory.Limits`.
        compile: mode of `torch.compile`, or None.
        graph: whether steps are replayed as CUDA graphs.
        products: whose matrix products are taken on a CPU: `auto`, `mkl` or `onednn`.
        stack: seeds of a configuration side by side in one process, or `auto`.
        chunk: clients that share every step, or `auto`.
        federated: what lies between server and clients: `local` or `flower`.
        timeout: seconds to wait for a client's reply.
        wait: seconds to wait at the end for runs that other processes are at; None: until they end.
    """

    config: dict[str, Any]
    names: dict[str, str]
    variant: str
    seeds: tuple[int, ...]
    data_sha256: str
    ability_sha256: dict[str, str]
    neutral: dict[str, Any]
    logger: dict[str, Any]
    results_dir: str
    search: tuple[str, ...]
    download: bool
    device: str
    save_models: bool
    workers: int | str
    threads: int
    residence: str
    residence_share: float
    memory: dict[str, Any]
    compile: str | None
    graph: bool
    products: str
    stack: int | str
    chunk: int | Literal["auto"]
    federated: str
    timeout: float
    wait: float | None

    def specs(self) -> list[RunSpec]:
        """Return one run per seed."""
        return [
            RunSpec(
                self.config,
                identity(self.config, self.names, self.data_sha256, seed, self.neutral, self.ability_sha256),
                self.variant,
                self.results_dir,
                list(self.search),
                self.download,
                self.device,
                self.threads,
                self.save_models,
                self.logger,
                residence=self.residence,
                residence_share=self.residence_share,
                compile=self.compile,
                graph=self.graph,
                products=self.products,
                chunk=self.chunk,
                federated=self.federated,
                timeout=self.timeout,
            )
            for seed in self.seeds
        ]


def make_job(composed: Composed, composer: Composer, method: Mapping[str, Any] | None = None, named: bool = True) -> Job:
    """Return the job that a composed configuration describes.

    Args:
        composed: the configuration, its choices and overrides.
        composer: composes what the job is compared with to name its variant.
        method: takes the place of the composed method node (a method given as an object).
        named: whether the variant is found out, which takes as long as composing does and changes no identity.

    Raises:
        ConfigError: an unknown key, or a value that cannot be used.
        DataError: one's own data is missing.
    """
    settled = resolve(composed, composer, method)
    groups = {override.name for override in composer.parse(composed.overrides, composed.choices) if override.group}
    asked = given_keys(composed, composer) | groups
    config = {key: settled[key] for key in (*NODES, *LATER_NODES) if settled.get(key) is not None}
    _storable(config)
    data, runner = settled["data"], settled["runner"]
    search = search_path(typed(data["root"], (str, type(None)), "data.root", "folders to look for data in"))
    every = config["eval"]["every"]
    if every is not None:
        count(every, "eval.every", least=1)
    count(config["eval"]["batch_size"], "eval.batch_size", least=1)
    return Job(
        config=config,
        names=names(config, composed.choices, method, asked),
        variant=variant(composed, composer, settled, method) if named else "",
        seeds=seeds(settled["seeds"]),
        data_sha256=data_digest(config["scenario"], search),
        ability_sha256=ability_digests(config, search),
        neutral=settled.get("neutral") or {},
        logger=settled.get("logger") or {},
        results_dir=typed(settled["results_dir"], (str,), "results_dir", "a folder"),
        search=tuple(str(folder) for folder in search),
        download=typed(data["download"], (bool,), "data.download", "true or false"),
        device=device(settled["device"]),
        save_models=typed(settled["save_models"], (bool,), "save_models", "true or false"),
        workers=runner["workers"] if runner["workers"] == "auto" else count(runner["workers"], "runner.workers", least=0),
        threads=count(runner["threads"], "runner.threads", least=1),
        residence=residence(data["residence"]),
        residence_share=share(data["share"], "data.share"),
        memory=_memory(runner),
        compile=compile_mode(runner["compile"]),
        graph=typed(runner["graph"], (bool,), "runner.graph", "true or false"),
        products=one_of(runner["products"], ("auto", "mkl", "onednn"), "runner.products"),
        stack=runner["stack"] if runner["stack"] == "auto" else count(runner["stack"], "runner.stack", least=1),
        chunk="auto" if runner["chunk"] == "auto" else count(runner["chunk"], "runner.chunk", least=1),
        federated=one_of(runner["federated"], ("local", "flower"), "runner.federated"),
        timeout=seconds(runner["timeout"], "runner.timeout"),
        wait=None if runner["wait"] is None else seconds(runner["wait"], "runner.wait"),
    )


def _storable(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError for values that no record could hold: infinities, NaN, what is not plain data."""
    for key, value in flatten(dict(config)):
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key}={value!r} cannot be stored in a record", "give a finite number, text or a list") from error


def _memory(runner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `clbench.runner.device_memory.Limits` from the runner's node, checked.

    Raises:
        ConfigError: a value that is no number of its kind.
    """
    unknown = typed(runner["memory_unknown"], (Mapping,), "runner.memory_unknown", "GiB by kind of device, cpu and cuda")
    for key, value, least in (
        *((f"memory_unknown.{kind}", unknown.get(kind), 0) for kind in ("cpu", "cuda")),
        ("memory_context", runner["memory_context"], 0),
        ("memory_margin", runner["memory_margin"], 1),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise ConfigError(f"runner.{key}={value!r} is not a number of at least {least}", f"give runner.{key}={least + 1}")
    return {
        "share": share(runner["memory_share"], "runner.memory_share"),
        "unknown": dict(unknown),
        "context": runner["memory_context"],
        "margin": runner["memory_margin"],
    }
