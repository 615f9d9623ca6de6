"""The server's side as a Flower ServerApp, for a SuperLink whose SuperNodes run `clbench.flower.client_app` (docs/flower.md)."""

from __future__ import annotations

import shlex
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from clbench.cells import Cell
from clbench.compose import new_composer
from clbench.errors import ConfigError
from clbench.flower.exchange import GridExchange
from clbench.job import make_job
from clbench.runner.claim import claim
from clbench.runner.execute import before, failed, store, thread_limit
from clbench.trial import run_with

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the trials that `words`, in the run's configuration, describes as on the command line of `clbench`, seed after seed.

    Records, checkpoints and resume are those of any other run: what is there already is not trained again, and a run that was
    killed goes on after its last finished task.

    Raises:
        ConfigError: the configuration holds no words, or a job that is not federated.
        RuntimeError: a trial failed; the others were run all the same.
    """
    words = context.run_config.get("words")
    if not isinstance(words, str):
        raise ConfigError(f"words={words!r} in the run's configuration", 'give words = "scenario=… +federated=… results_dir=/…"')
    composer = new_composer()
    job = make_job(composer(shlex.split(words)), composer)
    if "federated" not in job.config:
        raise ConfigError(f"words={words!r} describe no federated run", "add +federated=iid, or another partition")
    failures = []
    for cell in job.cells():
        ended = _settled(cell, grid, job.timeout)
        print(f"{cell.label}: {ended['event']} {ended.get('reason', '')}".rstrip(), flush=True)
        if ended["event"] == "failed":
            failures.append(ended["reason"])
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(job.seeds)} runs failed: {failures[0]}")


def _settled(cell: Cell, grid: Grid, timeout: float) -> dict[str, Any]:
    """Run a cell unless it is done, and return the last message about it."""
    try:
        with claim(cell) as other:
            ended = before(cell, other)
            if ended is not None:
                return ended
            with thread_limit(cell.threads):
                record = run_with(cell, _tell, lambda clients: GridExchange(grid, clients, cell, timeout))
            return store(cell, record)
    except Exception as error:
        return failed(cell, error)


def _tell(event: dict[str, Any]) -> None:
    if "text" in event:
        print(event["text"], flush=True)
