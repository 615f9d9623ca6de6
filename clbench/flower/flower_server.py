"""The server's side as a Flower ServerApp, for a SuperLink whose SuperNodes run `clbench.flower.client_app` (docs/flower.md)."""

from __future__ import annotations

import shlex
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ConfigError
from clbench.flower.grid_transport import GridExchange
from clbench.run_spec import RunSpec
from clbench.runner.execute import before, failed, store, thread_limit
from clbench.runner.lock import claim
from clbench.runs.run import run_with

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
    for spec in job.specs():
        ended = _settled(spec, grid, job.timeout)
        print(f"{spec.label}: {ended['event']} {ended.get('reason', '')}".rstrip(), flush=True)
        if ended["event"] == "failed":
            failures.append(ended["reason"])
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(job.seeds)} runs failed: {failures[0]}")


def _settled(spec: RunSpec, grid: Grid, timeout: float) -> dict[str, Any]:
    """Run a run unless it is done, and return the last message about it."""
    try:
        with claim(spec) as other:
            ended = before(spec, other)
            if ended is not None:
                return ended
            with thread_limit(spec.threads):
                record = run_with(spec, _tell, lambda clients: GridExchange(grid, clients, spec, timeout))
            return store(spec, record)
    except Exception as error:
        return failed(spec, error)


def _tell(event: dict[str, Any]) -> None:
    if "text" in event:
        print(event["text"], flush=True)
