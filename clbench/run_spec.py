"""The description of a run: complete and in plain data, so that another process can execute the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from clbench.execution import Execution
from clbench.records import Record, config_hash, identity_hash, read, record_path
from clbench.store.results_folder import CHECKPOINTS, require


@dataclass(frozen=True)
class RunSpec:
    """One configuration with one seed.

    Args:
        config: resolved nodes of the objects (method, scenario, model, optimizer, trainer, eval).
        identity: everything that the result depends on; the record's name follows from it (`clbench.config.resolve.identity`).
        variant: the shortest difference from the defaults, for people; empty if there is none.
        results_dir: folder of the record.
        execution: how the run is executed.
        logger: the logger's node.
        n_runs: number of runs in the whole sweep.
        color: whether loggers write to a terminal with colours.
        stacked: further seeds that share every step with this run.
        replaces: sha256 of the stored record that this run replaces when it is complete; empty: none.
        tuned_by: where the values of the method come from (`clbench.config.tuned_by`); a part of the record's provenance.
        mark: of the results folder at the start of the command (`clbench.store.results_folder.prepare`); empty: unknown.
    """

    config: dict[str, Any]
    identity: dict[str, Any]
    variant: str = ""
    results_dir: str = "runs"
    execution: Execution = field(default_factory=Execution)
    logger: dict[str, Any] = field(default_factory=dict)
    n_runs: int = 1
    color: bool = False
    stacked: list[RunSpec] = field(default_factory=list)
    replaces: str = ""
    mark: str = ""
    tuned_by: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Name of the run and of its record."""
        return identity_hash(self.identity)

    @cached_property
    def config_id(self) -> str:
        """Name of the configuration: the row of the leaderboard with all its seeds."""
        return config_hash(self.identity)

    @property
    def over_flower(self) -> bool:
        """Whether Flower's simulation engine connects the server of this run with its clients."""
        return self.execution.federated == "flower" and "federated" in self.config

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints until its record is stored."""
        return Path(os.path.abspath(self.results_dir)) / CHECKPOINTS / self.id

    def require_folder(self) -> None:
        """Require that the results folder is still the one in which the command began.

        Raises:
            UnwritableError: the folder is gone.
        """
        require(Path(self.results_dir), self.mark)

    @property
    def record_file(self) -> Path:
        """File of the run's record, which may not exist yet."""
        return record_path(Path(self.results_dir), self.id)

    def stored(self) -> Record | None:
        """Return the run's record; None if there is none yet, or only the one that this run replaces.

        Raises:
            StoreError: the record is damaged.
        """
        if not os.path.lexists(self.record_file):
            return None
        record = read(self.record_file)
        return None if record.digest == self.replaces else record

    @property
    def names(self) -> dict[str, str]:
        """Names of method, scenario, model and optimizer."""
        return self.identity["names"]  # type: ignore[no-any-return]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.identity["seed"])

    @property
    def setting(self) -> str:
        """The scenario's setting."""
        return str(self.config["scenario"].get("setting", ""))

    @property
    def label(self) -> str:
        """Name in the progress display: scenario, setting, method, variant, seed."""
        return f"{self.row_label} seed {self.seed}"

    @property
    def row_label(self) -> str:
        """Name in the progress display without the seed."""
        names = self.names
        parts = [names["scenario"], self.setting, names["method"], names.get("server", ""), self.variant and f"({self.variant})"]
        return " ".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values that `json` can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Return the run that `to_dict` described."""
        stacked = [cls.from_dict(each) for each in values["stacked"]]
        return cls(**{**values, "execution": Execution(**values["execution"]), "stacked": stacked})
