"""One trial: stream x method x model x seed -> record. Whoever reads this top to bottom has understood clbench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clbench.engine.evaluation.accuracy import Row, evaluate
from clbench.engine.evaluation.claims import conclusion, described, shown, unlearning
from clbench.engine.evaluation.drift import Drift
from clbench.engine.evaluation.request_probes import examine
from clbench.engine.evaluation.text_metrics import row_of
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.federated.assign_clients import dealt
from clbench.loggers import build_loggers
from clbench.loggers.base import Loggers, TrialInfo
from clbench.method import Method
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint
from clbench.runs.cost import Cost
from clbench.runs.factory import AnyTraining, Connect
from clbench.runs.factory import assemble as assemble
from clbench.runs.factory import pick_device as pick_device
from clbench.runs.provenance import provenance
from clbench.stream import Stream, Task
from clbench.utils import cpu_matmul
from clbench.utils.notify import redirect

Report = Callable[[dict[str, Any]], None]


def run_trial(spec: RunSpec, report: Report) -> Record:
    """Train and measure one run, from its newest checkpoint if there is one, and return its record (not yet stored).

    Args:
        spec: what to run, resolved and JSON-able.
        report: is told of progress by small dictionaries.

    Raises:
        ClbenchError: the run cannot be run as configured, or it diverged; the message says why and what to do.
    """
    return run_with(spec, report)


def run_with(spec: RunSpec, report: Report, connect: Connect | None = None) -> Record:
    """Do as `run_trial`; `connect` makes what connects the server of a federated trial with its clients."""
    trial = prepare(spec, report, connect)
    trial.training.accelerate(spec.compile, spec.graph, trial.say)
    try:
        return trial.run()
    except Exception as error:
        trial.loggers.fail(str(error))
        raise


def prepare(spec: RunSpec, report: Report, connect: Connect | None = None) -> Trial:
    """Return the trial of a run, ready to run; arguments and errors as of `run_trial`."""
    device = pick_device(spec.device)
    cpu_matmul.use(spec.products)

    def say(text: str) -> None:
        report({"event": "print", "text": text})

    with redirect(say):
        stream, method, learner, training = assemble(spec, device, connect)

    about = TrialInfo.of(spec.identity, spec.id, spec.variant, spec.results_dir, spec.n_runs, spec.color)
    loggers = Loggers(build_loggers(spec.logger, say), about, say)
    return Trial(spec, stream, method, learner, training, loggers, report)


class Trial:
    """The running state of a trial: the matrix so far, the curves, the cost."""

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
        """Start with an empty matrix."""
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
        """Those of the matrix once more, for checkpoints: many small lists take longer to save than a task to learn."""
        self.losses: list[list[float]] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.sequential = method.access != "all"
        """A method that sees all tasks learns them in one event, the last."""

    def run(self) -> Record:
        """Learn every task, measure after each, and return the record."""
        done = self.begin()
        if not self.events:
            self._measure("untrained", -1, None)
        for task in self.tasks[done:]:
            self._learn(task)
            self._measure("task" if task.kind == "learn" else "request", task.index, None)
            self._examine(task)
            self.save(task)
        return self.finish()

    def say(self, text: str) -> None:
        """Tell people something about this trial."""
        self.report({"event": "print", "text": f"{self.spec.label}: {text}"})

    @property
    def tasks(self) -> list[Task]:
        """What is learned, event by event."""
        return list(self.stream.tasks) if self.sequential else [self.stream.tasks[-1]]

    def begin(self, at: int | None = None) -> int:
        """Restore a checkpoint, if there is one, and return how many tasks of this run it has behind it.

        Args:
            at: the task after which to go on; None: the newest there is, -1: none, start anew.
        """
        done = self._resume(at)
        self.report({"event": "start", "tasks": len(self.tasks), "resumed_at": done})
        return done

    def finish(self, stacked: int = 1) -> Record:
        """Return the record of the finished trial.

        Args:
            stacked: how many trials went side by side.
        """
        record = Record(
            self.spec.identity,
            self._result(),
            self.cost.report(self.learner, self.training.report()),
            provenance(self.spec, self.learner.device, self.cost.resumed, stacked),
        )
        self.loggers.end(record)
        return record

    def _learn(self, task: Task) -> None:
        self.training.after_step = self._within(task) if self.eval_every else None
        self.training.after_epoch = lambda epoch, epochs: self.passed(task, epoch, epochs)
        if self.drift is not None:
            self.drift.start()
        with redirect(self.say), self.cost.training():
            self.training.learn(task)
        self.learned()
        if self.drift is not None:
            self.diagnostics[-1] |= {"drift": self.drift.report()}

    def passed(self, task: Task, epoch: int, epochs: int) -> None:
        """Tell that an epoch is over."""
        self.report({"event": "epoch", "task": task.index, "epoch": epoch + 1, "epochs": epochs})

    def learned(self) -> None:
        """Note what there is to be seen of the training of the task just learned."""
        self.losses.append(self.training.losses)
        self.diagnostics.append(self.training.diagnostics())

    def _within(self, task: Task) -> Callable[[int], None]:
        every = self.eval_every
        assert every is not None

        def after_step(step: int) -> None:
            if step % every == 0:
                self._measure("within", task.index, step)

        return after_step

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
            row: it.
            kind: `untrained`, `task`, `request` (after one was met) or `within`.
            task: the task being learned, -1 before the first.
            step: within it; None: after it.
        """
        self.events.append({"kind": kind, "task": task, "step": step})
        self.matrix.append([list(entry) for entry in row])
        self.rows.append(torch.tensor(row, dtype=torch.float64))
        if kind in ("task", "request"):
            seen = shown(self.stream, row, task)
            self._conclude(task)
            self.report({"event": "task", "task": task, "acc": 100 * sum(hit / n for hit, n in seen) / len(seen)})
        self.loggers.event(self._result())

    def _examine(self, task: Task) -> None:
        """Where there are requests: say before the first whether there is enough to forget, and look closer after each."""
        if not self.stream.requests:
            return
        assert isinstance(self.training, Training)  # federated trials refuse requests
        with self.cost.evaluation():
            found = examine(self.learner, self.method, self.training.trainer, task, self.matrix[-1], self.eval_batch)
        self.diagnostics[-1] |= found
        if "no_claim" in found.get("conclusion", {}):
            self.say(found["conclusion"]["no_claim"])

    def _conclude(self, task: int) -> None:
        """Put what the stream's condition allows to conclude into the diagnostics; say it once if that is nothing."""
        found = conclusion(self.stream, self.events, self.matrix)
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
            **dealt(stream),
            **unlearning(stream),
        }

    def save(self, task: Task, alone: bool = True) -> None:
        """Store the checkpoint after `task`.

        Args:
            task: the one just learned.
            alone: whether earlier checkpoints are removed; else `checkpoint.prune` does it, when those beside are stored too.
        """
        learner = self.learner
        model = {key: value.detach() for key, value in learner.model.state_dict().items()}
        tree = {
            "identity": self.spec.id,
            "stream": self.stream.fingerprint,
            "model": model,
            "method": self.training.state(),
            "optimizer": learner.optimizer.state() if learner.optimizer.carry else {},
            "events": self.events,
            "matrix": torch.stack(self.rows),
            "losses": self.losses,
            "diagnostics": self.diagnostics,
            "cost": self.cost.state(),
            "samples": self.training.samples,
        }
        if self.spec.save_models:  # first: a task behind a checkpoint is not come back to
            models = Path(self.spec.results_dir) / "models" / self.spec.id
            checkpoint.write_model(models / f"task-{task.index:04d}.pt", model)
        checkpoint.save(self.folder, task.index, tree, alone)

    def _resume(self, at: int | None) -> int:
        found = checkpoint.load(self.folder, self.learner.device, at)
        if found is None:
            return 0
        task, tree = found
        if tree["identity"] != self.spec.id or tree["stream"] != self.stream.fingerprint:
            raise ConfigError(
                f"the checkpoint in {self.folder} belongs to another run or other data",
                "delete that folder to train this run from its beginning",
            )
        self.learner.start(task)
        self.training.load_state(tree["method"])
        self.learner.model.load_state_dict(tree["model"])
        if self.learner.optimizer.carry:
            self.learner.optimizer.load_state(tree["optimizer"])
        self.events, self.losses = tree["events"], tree["losses"]
        rows = torch.as_tensor(tree["matrix"])  # lists in checkpoints of version 0.1
        self.matrix, self.rows = [row_of(self.stream, row) for row in rows.tolist()], list(rows.to("cpu", torch.float64))
        self.diagnostics, self.training.samples = tree["diagnostics"], tree["samples"]
        self.cost.load_state(tree["cost"])
        return task + 1 if self.sequential else 1
