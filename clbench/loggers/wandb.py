"""Weights & Biases: a run there for each run here, grouped by configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from clbench.errors import ConfigError
from clbench.loggers import heatmap
from clbench.loggers.base import Logger, RunInfo, accuracies, metrics_after
from clbench.metrics.matrix import summary
from clbench.records import Record
from clbench.utils.markup import plain

LONGEST_NAME = 128
"""Characters that the service takes as a run's name."""


@dataclass
class Wandb(Logger):
    """Logs a row per measurement, and at the end the metrics and the matrix as table and heat map.

    A row holds `event` (the x axis), `task`, `step` (within the task), `accuracy/COLUMN`, and at the end of a task the
    metrics over the tasks so far (`acc`, `forgetting`, `bwt`, ...), all in percent. Files go to `results_dir/wandb`.

    Args:
        project: name of the project.
        entity: user or team; None: the account's default.
        mode: `offline` writes files for `wandb sync`, `online` also sends them, `disabled` does nothing.
        cell: side of an entry of the heat map, in pixels.
        init_timeout: seconds to wait for the service when a run starts (online).
        finish_timeout: seconds to wait for what is still to be sent when it ends (online).

    Raises:
        ConfigError: `online` without an API key. wandb never asks for a key.
    """

    project: str
    entity: str | None
    mode: Literal["disabled", "offline", "online"]
    cell: int
    init_timeout: float
    finish_timeout: Annotated[float, Field(ge=0)]

    def __post_init__(self) -> None:
        """Check the key early: before the training."""
        self._run: Any = None
        self._rows = 0
        if self.mode == "online":
            _require_key()

    def begin(self, info: RunInfo) -> None:
        """Start a run of the service."""
        if self.mode == "disabled":
            return
        import wandb

        results_dir = Path(info.results_dir).absolute()
        results_dir.mkdir(parents=True, exist_ok=True)
        self._folder = results_dir / "wandb"
        wanted = {
            "silent": True,
            "console": "off",
            "x_disable_stats": True,
            "disable_git": True,
            "symlink": False,
            "init_timeout": self.init_timeout,
            "finish_timeout": self.finish_timeout,
        }
        settings = wandb.Settings(**{key: value for key, value in wanted.items() if key in wandb.Settings.model_fields})
        with _keep_below(self._folder):
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=info.config_id,
                name=plain(info.label)[:LONGEST_NAME],
                config=info.identity | {"id": info.id, "variant": info.variant},
                mode=self.mode,
                dir=str(results_dir),
                settings=settings,
                reinit="create_new",
            )
            self._run.define_metric("event")
            self._run.define_metric("*", step_metric="event")

    def event(self, result: dict[str, Any]) -> None:
        """Log the rows that are new."""
        if self._run is None:
            return
        columns = [plain(column["name"]) for column in result["columns"]]
        fresh = accuracies({**result, "matrix": result["matrix"][self._rows :]})
        for index, row in enumerate(fresh, self._rows):
            event = result["events"][index]
            values: dict[str, Any] = {"event": index, "task": event["task"]}
            if event["step"] is not None:
                values["step"] = event["step"]
            values |= {f"accuracy/{name}": value for name, value in zip(columns, row) if value is not None}
            self._run.log(values | metrics_after(result, index))
        self._rows = len(result["events"])

    def end(self, record: Record) -> None:
        """Log the final metrics, what they cost, and the matrix; close the run."""
        if self._run is None:
            return
        import wandb

        self.event(record.result)
        result, rows = record.result, accuracies(record.result)
        columns = [plain(column["name"]) for column in result["columns"]]
        table = wandb.Table(columns=["event", "task", "step", *columns])
        for event, row in zip(result["events"], rows):
            table.add_data(event["kind"], event["task"], event["step"], *row)
        caption = "accuracy in percent; rows: events, columns: evaluation sets"
        with _keep_below(self._folder):
            self._run.log({"matrix": table, "heatmap": wandb.Image(heatmap.image(rows, self.cell), caption=caption)})
            self._run.summary.update({key: value for key, value in summary(result).items() if value is not None})
            self._run.summary.update({f"cost/{key}": value for key, value in record.cost.items() if value is not None})
            self._close(0)

    def fail(self, reason: str) -> None:
        """Close the run as failed, with the reason in its summary."""
        if self._run is None:
            return
        with _keep_below(self._folder):
            self._run.summary["failed"] = plain(reason)
            self._close(1)

    def _close(self, exit_code: int) -> None:
        run, self._run = self._run, None
        run.finish(exit_code=exit_code)


def _require_key() -> None:
    """Refuse to go on without a key, instead of asking for one as `wandb.init` would on a terminal."""
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))  # silent: no prompt, an error in its place
    try:
        found = wandb.login(verify=False)
    except wandb.errors.Error as error:
        reason = f": {error}"
        found = False
    else:
        reason = ""
    if not found:
        raise ConfigError(
            f"logger.wandb.mode=online, but there is no API key for wandb{reason}",
            "set the environment variable WANDB_API_KEY, or give logger.wandb.mode=offline",
        )


@contextmanager
def _keep_below(folder: Path) -> Iterator[None]:
    """Have wandb put its logs and staged tables below `folder`, unless the user's environment says where."""
    missing = [key for key in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR") if key not in os.environ]
    os.environ.update({key: str(folder / ".cache") for key in missing})
    try:
        yield
    finally:
        for key in missing:
            os.environ.pop(key, None)
