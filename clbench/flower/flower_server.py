"""A federated server as a Flower ServerApp, for a SuperLink with SuperNodes of `clbench.flower.client_app` (docs/flower.md)."""

from __future__ import annotations

from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ConfigError
from clbench.flower.grid_transport import GridTransport
from clbench.flower.installation import split_words
from clbench.run_spec import RunSpec
from clbench.runner.execute import failed, not_needed, store, thread_limit
from clbench.runner.lock import lock_run
from clbench.runner.outcome import Status
from clbench.runner.worker_messages import End
from clbench.runs.run import train_run
from clbench.utils.markup import terminal

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Execute the runs that `words` describes, seed after seed.

    `words` is a field of Flower's run configuration, with the words of the command line of `clbench`. Records, checkpoints and
    resume are the same as of other runs: a stored run is not trained again, and a killed run resumes after its last finished
    task.

    Raises:
        ConfigError: the configuration has no `words`, or they describe no federated run.
        RuntimeError: a run failed; the other runs were executed.
    """
    words = context.run_config.get("words")
    if not isinstance(words, str):
        raise ConfigError(f"words={words!r} in the run's configuration", 'give words = "scenario=… +federated=… results_dir=/…"')
    composer = new_composer()
    job = make_job(composer(split_words(words, "words")), composer)
    if "federated" not in job.config:
        raise ConfigError(f"words={words!r} describe no federated run", "add +federated=iid, or another partition")
    failures = []
    for spec in job.specs():
        end = _execute(spec, grid, job.execution.timeout)
        text = f"{end.reason} -> {end.remedy}" if end.remedy else end.reason
        print(terminal(f"{spec.label}: {end.status} {text}".rstrip()), flush=True)
        if end.status is Status.FAILED:
            failures.append(text)
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(job.seeds)} runs failed: {failures[0]}")


def _execute(spec: RunSpec, grid: Grid, timeout: float) -> End:
    """Execute a run unless its record is stored, and return its end."""
    try:
        with lock_run(spec) as other:
            end = not_needed(spec, other)
            if end is not None:
                return end
            with thread_limit(spec.execution.threads):
                record = train_run(spec, _print, lambda clients: GridTransport(grid, clients, spec, timeout))
            return store(spec, record)
    except Exception as error:
        return failed(spec, error)


def _print(event: dict[str, Any]) -> None:
    if "text" in event:
        print(terminal(event["text"]), flush=True)
