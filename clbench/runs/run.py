"""One run: stream x method x model x seed -> record. Read this file from top to bottom to understand clbench."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from clbench.engine.evaluation.accuracy import Row, evaluate
from clbench.engine.evaluation.claims import claim, described, shown, unlearning
from clbench.engine.evaluation.drift import Drift
from clbench.engine.evaluation.request_probes import probe
from clbench.engine.evaluation.text_metrics import row_of
from clbench.engine.learner.learner import Learner
from clbench.engine.resumable import check_diagnostics
from clbench.engine.training.batch_statistics import explained
from clbench.engine.training.loop import Training
from clbench.errors import UnwritableError
from clbench.federated.assign_clients import partition_counts
from clbench.loggers import build_loggers
from clbench.loggers.base import Loggers, RunInfo
from clbench.method import Method
from clbench.metrics.unlearning import goal
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint, learned_state
from clbench.runs.cost import Cost
from clbench.runs.factory import AnyTraining, Connect
from clbench.runs.factory import assemble as assemble
from clbench.runs.factory import pick_device as pick_device
from clbench.runs.provenance import provenance
from clbench.sources.confirm import confirm
from clbench.stream import Stream, Task
from clbench.utils import cpu_matmul
from clbench.utils.detached import detached
from clbench.utils.notify import redirect
from clbench.utils.time_limit import Alarm

Report = Callable[[dict[str, Any]], None]


def train_run(spec: RunSpec, report: Report, connect: Connect | None = None) -> Record:
    """Train and measure one run, from its newest checkpoint if any, and return its record (not yet stored).

    Args:
        spec: the run, resolved and JSON-able.
        report: gets progress as small dictionaries.
        connect: makes the transport between the server of a federated run and its clients; None: all are in this process.

    Raises:
        ClbenchError: the run is not possible as configured, or it diverged; the message gives reason and remedy.
    """
    run = prepare(spec, report, connect)
    try:
        with detached(run.say) as tell:
            run.training.accelerate(spec.execution.compile, spec.execution.graph, tell)
            return run.run()
    except (Exception, Alarm) as error:
        told = explained(error, run.learner) if isinstance(error, Exception) else None
        run.fail(told or error)
        if told is not None:
            raise told from error
        raise


def prepare(spec: RunSpec, report: Report, connect: Connect | None = None) -> Run:
    """Return a run, ready to start; arguments and errors as of `train_run`."""
    device = pick_device(spec.execution.device)
    cpu_matmul.use(spec.execution.products)

    def say(text: str) -> None:
        report({"event": "print", "text": text})

    with redirect(say):
        stream, method, learner, training = assemble(spec, device, connect)
    confirm(spec.identity.get("sources") or {})

    about = RunInfo.of(spec.identity, spec.id, spec.variant, spec.results_dir, spec.n_runs, spec.color)
    loggers = Loggers(build_loggers(spec.logger, say), about, say)
    return Run(spec, stream, method, learner, training, loggers, report)


class Run:
    """A run in progress: the matrix so far, the curves, the cost."""

    def __init__(
        self,
        spec: RunSpec,
        stream: Stream,
        method: Method,
        learner: Learner,
        training: AnyTraining,
        loggers: Loggers,
        report: Report,
    ) -> None:
        """Start with an empty matrix.

        Nothing that a method gets leads to the run: the run alone has the samples of `stream.evaluation`.
        """
        self.spec, self.stream, self.method, self.learner, self.training = spec, stream, method, learner, training
        self.loggers, self.report = loggers, report
        self.eval_every: int | None = spec.config["eval"]["every"]
        self.eval_batch: int = spec.config["eval"]["batch_size"]
        self.drift = Drift(learner) if spec.config["eval"].get("drift") else None
        self.folder = spec.checkpoints
        self.cost = Cost(learner.device)
        self.events: list[dict[str, Any]] = []
        self.matrix: list[list[list[Any]]] = []
        self.rows: list[torch.Tensor] = []
        """The same matrix as tensors, for checkpoints: saving many small lists takes longer than learning a task."""
        self.losses: list[list[float]] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.sequential = method.access != "all"
        """False if the method gets all tasks at once: it learns them in one event, the last."""

    def run(self) -> Record:
        """Learn every task, measure after each, and return the record."""
        done = self.begin()
        if not self.events:
            self._measure("untrained", -1, None)
        for task in self.tasks[done:]:
            if self.drift is not None:
                self.drift.start()
            on_step, on_epoch = partial(self._within, task), partial(self.passed, task)
            with redirect(self.say), self.cost.training(), detached(on_step) as step, detached(on_epoch) as epoch:
                self.training.learn(task, step if self.eval_every else None, epoch)
            self.learned()
            if self.drift is not None:
                self.diagnostics[-1] |= {"drift": self.drift.report()}
            self._measure("task" if task.kind == "learn" else "request", task.index, None)
            self._probe(task)
            self.save(task)
        return self.finish()

    def fail(self, error: BaseException) -> None:
        """Report where the run failed, and tell the loggers."""
        done = sum(event["kind"] in ("task", "request") for event in self.events)
        if self.events and done < len(self.tasks):
            where = {"task": self.tasks[done].index, "step": self.training.step_count}
        else:
            where = {}
        self.report({"event": "stopped", "events": len(self.events), **where})
        self.loggers.fail(str(error))

    def say(self, text: str) -> None:
        """Print a line about this run."""
        self.report({"event": "print", "text": f"{self.spec.label}: {text}"})

    @property
    def tasks(self) -> list[Task]:
        """The tasks to learn, event by event."""
        return list(self.stream.tasks) if self.sequential else [self.stream.tasks[-1]]

    def begin(self, at: int | None = None) -> int:
        """Restore a checkpoint, if any, and return the number of finished tasks.

        Args:
            at: resume after this task; None: after the newest checkpoint; -1: start anew.
        """
        done = self._resume(at)
        about = {"setting": self.stream.setting, "access": self.method.access, "goal": goal(unlearning(self.stream))}
        self.report({"event": "start", "tasks": len(self.tasks), "resumed_at": done, **about})
        return done

    def finish(self, stacked: int = 1) -> Record:
        """Return the record of the finished run.

        Args:
            stacked: number of runs trained side by side.
        """
        confirm(self.spec.identity.get("sources") or {}, finished=True)
        record = Record(
            self.spec.identity,
            self._result(),
            self.cost.report(self.learner, self.training.report()),
            provenance(self.spec, self.learner.device, self.cost.resumed, stacked),
        )
        self.loggers.end(record)
        return record

    def passed(self, task: Task, epoch: int, epochs: int) -> None:
        """Report the end of an epoch."""
        self.report({"event": "epoch", "task": task.index, "epoch": epoch + 1, "epochs": epochs})

    def learned(self) -> None:
        """Keep curves and diagnostics of the task just learned."""
        self.losses.append(self.training.losses)
        found = self.training.diagnostics()
        check_diagnostics(self.method, found)
        self.diagnostics.append(found)

    def _within(self, task: Task, step: int) -> None:
        if self.eval_every and step % self.eval_every == 0:
            self._measure("within", task.index, step)

    def _measure(self, kind: str, task: int, step: int | None) -> None:
        before = self.cost.eval_seconds
        with self.cost.evaluation():
            row = evaluate(self.learner, self.method, self.stream.evaluation, self.eval_batch)
        if kind != "within":
            self.cost.inference_ms.append(1000 * (self.cost.eval_seconds - before) / sum(n for _, n in row))
        self.measured(row, kind, task, step)

    def measured(self, row: Row, kind: str, task: int, step: int | None) -> None:
        """Add a row to the matrix: (correct or sum, n) of every evaluation set.

        Args:
            row: to add.
            kind: `untrained`, `task`, `request` (after one was handled) or `within`.
            task: the current task, -1 before the first.
            step: within the task; None: after it.
        """
        self.events.append({"kind": kind, "task": task, "step": step})
        self.matrix.append([list(entry) for entry in row])
        self.rows.append(torch.tensor(row, dtype=torch.float64))
        if kind in ("task", "request"):
            seen = shown(self.stream, row, task)
            self._claim(task)
            self.report({"event": "task", "task": task, "acc": 100 * sum(hit / n for hit, n in seen) / len(seen)})
        self.loggers.event(self._result())

    def _probe(self, task: Task) -> None:
        """In a stream with requests: check before the first whether the model knows the samples, and probe after each."""
        if not self.stream.requests:
            return
        assert isinstance(self.training, Training)  # federated runs refuse requests
        with self.cost.evaluation():
            trainer, row = self.training.trainer, self.matrix[-1]
            found = probe(self.stream, self.learner, self.method, trainer, task, row, self.eval_batch)
        self.diagnostics[-1] |= found
        if "no_claim" in found.get("conclusion", {}):
            self.say(found["conclusion"]["no_claim"])

    def _claim(self, task: int) -> None:
        """Add the claim that the stream's condition allows to the diagnostics; without a claim, print the reason once."""
        found = claim(self.stream, self.events, self.matrix)
        if found:
            self.diagnostics[-1] |= {"conclusion": found}
            if task == 0 and "no_claim" in found:
                self.say(found["no_claim"])

    def _result(self) -> dict[str, Any]:
        stream = self.stream
        return {
            "setting": stream.setting,
            "n_tasks": len(stream.learned),
            "sequential": self.sequential,
            "access": self.method.access,
            "stream": stream.fingerprint,
            "task_names": [task.name for task in stream.tasks],
            "columns": described(stream),
            "events": self.events,
            "matrix": self.matrix,
            "curves": {"loss": self.losses},
            "diagnostics": self.diagnostics,
            **partition_counts(stream),
            **unlearning(stream),
        }

    def save(self, task: Task, alone: bool = True) -> None:
        """Store the checkpoint after `task`.

        Args:
            task: just learned.
            alone: True to remove earlier checkpoints; otherwise `checkpoint.prune` does so, once all runs side by side are saved.
        """
        self.spec.require_folder()
        tree = learned_state.read(self.spec, self.stream, self.learner, self.training) | {
            "events": self.events,
            "matrix": torch.stack(self.rows),
            "losses": self.losses,
            "diagnostics": self.diagnostics,
            "cost": self.cost.state(),
        }
        learned_state.keep_model(self.spec, task.index, tree["model"])  # first, because resume skips checkpointed tasks
        try:
            checkpoint.save(self.folder, task.index, tree, alone)
        except UnwritableError as error:
            if task is not self.tasks[-1]:
                raise
            self.say(f"{error.what}; the record is smaller and may still be stored")

    def _resume(self, at: int | None) -> int:
        found = checkpoint.load(self.folder, self.learner.device, at)
        if found is None:
            return 0
        task, tree = found
        with learned_state.complete(self.spec):
            self._restore(tree, task)
        return task + 1 if self.sequential else 1

    def _restore(self, tree: dict[str, Any], task: int) -> None:
        """Put back the state after `task`."""
        learned_state.refuse_foreign(tree, self.spec, self.stream, task)
        learned_state.restore(tree, task, self.learner, self.training)
        self.events, self.losses = tree["events"], tree["losses"]
        rows = torch.as_tensor(tree["matrix"])  # lists in checkpoints of version 0.1
        self.matrix, self.rows = [row_of(self.stream, row) for row in rows.tolist()], list(rows.to("cpu", torch.float64))
        self.diagnostics = tree["diagnostics"]
        self.cost.load_state(tree["cost"])
