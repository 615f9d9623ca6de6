"""A run of a sweep: one trial, described completely and as plain data, so that it can travel to another process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clbench.records import config_hash, identity_hash


@dataclass(frozen=True)
class RunSpec:
    """One trial of one seed.

    Args:
        config: the nodes that objects are built from (method, scenario, model, optimizer, trainer, eval), resolved.
        identity: what the trial is and what its record will be named by; see `clbench.config.resolve.identity`.
        variant: the shortest difference from the defaults, for people; empty if there is none.
        results_dir: where the record goes.
        search: folders to look for data in.
        download: whether missing data may be fetched.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads that the trial may use.
        save_models: whether to keep the model after each task.
        logger: the logger's node.
        n_cells: trials of the whole sweep.
        color: whether what loggers say ends on a terminal that shows colours.
        residence: where the data is kept while the trial runs (`clbench.scenarios.placement.place`).
        products: whose matrix products perceptrons and bases are made with on a CPU (`clbench.utils.cpu_matmul`).
        chunk: clients of a federated trial that share every step, or `auto`.
        federated: what lies between the server of a federated trial and its clients: `local`, nothing; or `flower`.
        timeout: seconds to wait for replies, where there is anything between.
        residence_share: of the free memory that it may take there.
    """

    config: dict[str, Any]
    identity: dict[str, Any]
    variant: str = ""
    results_dir: str = "runs"
    search: list[str] = field(default_factory=list)
    download: bool = False
    device: str = "auto"
    threads: int = 1
    save_models: bool = False
    logger: dict[str, Any] = field(default_factory=dict)
    n_runs: int = 1
    color: bool = False
    compile: str | None = None
    graph: bool = False
    products: str = "auto"
    beside: list[RunSpec] = field(default_factory=list)
    residence: str = "auto"
    residence_share: float = 0.5
    chunk: int | Literal["auto"] = "auto"
    federated: str = "local"
    timeout: float = 600.0

    @cached_property
    def id(self) -> str:
        """Name of the trial and of its record."""
        return identity_hash(self.identity)

    @cached_property
    def config_id(self) -> str:
        """Name of the row of the leaderboard that the trial belongs to."""
        return config_hash(self.identity)

    @property
    def over_flower(self) -> bool:
        """Whether Flower's simulation engine stands between the server and the clients of this run."""
        return self.federated == "flower" and "federated" in self.config

    @property
    def checkpoints(self) -> Path:
        """Where the trial keeps its checkpoints while it runs."""
        return Path(os.path.abspath(self.results_dir)) / ".checkpoints" / self.id

    @property
    def names(self) -> dict[str, str]:
        """Names of method, scenario, model and optimizer."""
        return self.identity["names"]  # type: ignore[no-any-return]

    @property
    def seed(self) -> int:
        """The seed of the trial."""
        return int(self.identity["seed"])

    @property
    def setting(self) -> str:
        """The scenario's setting."""
        return str(self.config["scenario"].get("setting", ""))

    @property
    def label(self) -> str:
        """What a reader of the progress display sees: scenario, setting, method, variant, seed."""
        return f"{self.row_label} seed {self.seed}"

    @property
    def row_label(self) -> str:
        """The same without the seed."""
        names = self.names
        parts = [names["scenario"], self.setting, names["method"], names.get("server", ""), self.variant and f"({self.variant})"]
        return " ".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values that `json` can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Return the run that `to_dict` described."""
        return cls(**{**values, "beside": [cls.from_dict(each) for each in values.get("beside", [])]})
