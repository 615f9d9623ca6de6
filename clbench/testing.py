"""The conformance kit: what the suite runs over everything it ships, and what a plug-in's author runs over their own.

    from clbench.testing import check_method
    check_method("my_method", config_dirs=["conf"], neutral={"strength": 0.0})

Everything runs on scikit-learn's digits, which need no download, through the same code as a real run.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clbench.build import build
from clbench.cells import Cell
from clbench.compose import new_composer
from clbench.errors import RefusedError
from clbench.job import make_job
from clbench.methods.base import Method
from clbench.records import Record
from clbench.stream import Stream

SETTINGS = ("task", "domain", "class")
BRIEF = ("trainer.epochs=1", "scenario.n_tasks=5")
"""What keeps a check short: one pass over five tasks of digits."""


class InterruptedRunError(Exception):
    """Stands for the death of a process right after a checkpoint."""


def make_cell(
    method: str | Mapping[str, Any], overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = (), seed: int = 0,
    results_dir: str | Path = "runs",
) -> Cell:
    """Return the cell that the command line would make.

    Args:
        method: name of a configuration in the group `method`, or a node with `_target_` and hyper-parameters.
        overrides: as on the command line.
        config_dirs: folders of configuration, as `--config-dir`.
        seed: of the trial.
        results_dir: where checkpoints go.
    """
    composer = new_composer(config_dirs)
    chosen = [f"method={method}"] if isinstance(method, str) else []
    composed = composer(["scenario=split_digits", *BRIEF, *chosen, f"seeds=[{seed}]", f"results_dir={results_dir}",
                         "logger=none", "device=cpu", *overrides])
    node = None if isinstance(method, str) else method
    (cell,) = make_job(composed, composer, node).cells()
    return cell


def run(cell: Cell) -> Record:
    """Run one cell in this process and return its record; nothing is stored but checkpoints under its results_dir."""
    from clbench.trial import run_trial

    return run_trial(cell, lambda event: None)


def check_method(
    method: str | Mapping[str, Any], overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = (),
    neutral: Mapping[str, Any] | None = None,
) -> None:
    """Check everything the suite promises of a method; the first broken promise is raised as an AssertionError.

    Interface; refusal of settings it does not declare; and in each declared setting: determinism, equality after resuming
    at every task, blindness to what its access does not cover, a neutral strength that is the plain run bit for bit, and
    (if it declares `stackable`) hooks that hold with a leading replica axis.

    Args:
        method: as `make_cell` takes it.
        overrides: further overrides for every run.
        config_dirs: as `make_cell`.
        neutral: hyper-parameters that switch the method off, e.g. `{"strength": 0.0}`; None: it has none.
    """
    cell = make_cell(method, overrides, config_dirs)
    made = build(cell.config["method"], "method")
    check_interface(made)
    for setting in SETTINGS:
        options = [*overrides, f"scenario.setting={setting}"]
        if setting not in made.settings:
            check_refusal(method, options, config_dirs)
            continue
        check_repeats(method, options, config_dirs)
        check_resumes(method, options, config_dirs)
        check_access(method, options, config_dirs)
        if neutral is not None:
            check_neutral(method, neutral, options, config_dirs)
        if made.stackable:
            check_stackable(method, options, config_dirs)


def check_interface(method: Any) -> None:
    """Check what a method is and declares."""
    assert isinstance(method, Method), f"{type(method).__name__} is not derived from clbench.methods.base.Method"
    assert set(method.settings) <= set(SETTINGS), f"unknown settings {set(method.settings) - set(SETTINGS)}"
    assert method.settings, "a method must declare at least one setting"
    assert method.access in ("current", "seen", "all", "retained"), f"unknown access {method.access!r}"
    known = {name for name in vars(Method) if not name.startswith("_")}
    near = {name for name in vars(type(method)) if not name.startswith("_") and name not in known}
    typos = [name for name in near if any(name.replace("_", "") == other.replace("_", "") for other in known)]
    assert not typos, f"{typos[0]} looks like a hook but is none; hooks are {sorted(known)}"


def check_refusal(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a setting which the method does not declare is refused, by name."""
    with tempfile.TemporaryDirectory() as folder:
        cell = make_cell(method, overrides, config_dirs, results_dir=folder)
        try:
            run(cell)
        except RefusedError as error:
            refusal = str(error)
        else:
            refusal = ""
    assert refusal, f"the setting {cell.setting} is not declared, but was not refused"
    assert cell.setting in refusal, f"the refusal does not name the setting {cell.setting}: {refusal}"


def check_repeats(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that the same cell gives the same result, bit for bit, and another seed another."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two, tempfile.TemporaryDirectory() as three:
        first = run(make_cell(method, overrides, config_dirs, results_dir=one)).result
        torch.rand(7)  # whatever happened in the process before must not matter
        second = run(make_cell(method, overrides, config_dirs, results_dir=two)).result
        other = run(make_cell(method, overrides, config_dirs, seed=1, results_dir=three)).result
    assert first == second, "two runs of the same cell differ: is a random number drawn outside learner.generator?"
    assert first["matrix"] != other["matrix"], "another seed gives the same matrix: is the seed ignored?"


def check_resumes(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a run which died after any of its tasks goes on to the identical result."""
    with tempfile.TemporaryDirectory() as folder:
        cell = make_cell(method, overrides, config_dirs, results_dir=folder)
        whole = run(make_cell(method, overrides, config_dirs, results_dir=Path(folder) / "whole")).result
        for _ in range(whole["n_tasks"]):
            try:
                result = _run_one_task(cell)
                break
            except InterruptedRunError:
                continue
        else:
            result = run(cell).result
    assert result == whole, "a resumed run differs from an undisturbed one: is something kept outside the method's attributes?"


def _run_one_task(cell: Cell) -> dict[str, Any]:
    """Run until the next checkpoint is written, then die; return the result if there was none left to write."""
    from clbench.trial import Trial, run_trial

    original = Trial._save

    def save_and_die(trial: Trial, task: Any) -> None:
        original(trial, task)
        if task is not trial.stream.tasks[-1]:
            raise InterruptedRunError

    Trial._save = save_and_die  # type: ignore[method-assign, assignment]
    try:
        return run_trial(cell, lambda event: None).result
    finally:
        Trial._save = original  # type: ignore[method-assign]


def check_access(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a method with access `current` does not depend on earlier tasks' data it does not hold in memory.

    After each task, the pool's rows of that task are overwritten, but for those that a memory of the method names (those
    count as its state). The result must not change.
    """
    from clbench.engine.evaluation import evaluate
    from clbench.trial import assemble

    if build(make_cell(method, overrides, config_dirs).config["method"], "method").access != "current":
        return
    results = []
    for corrupt in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            cell = make_cell(method, overrides, config_dirs, results_dir=folder)
            stream, made, learner, trainer = assemble(cell, torch.device("cpu"))
            results.append(_learn_corrupted(stream, made, learner, trainer, corrupt, evaluate))
    assert results[0] == results[1], "the result depends on data of earlier tasks that the method does not hold in memory"


def _learn_corrupted(stream: Stream, method: Method, learner: Any, trainer: Any, corrupt: bool, evaluate: Any) -> list[Any]:
    from clbench.engine.memory import Memory
    from clbench.engine.training import Training

    training, rows = Training(learner, method, trainer), []
    for task in stream.tasks:
        learner.start(task.index)
        method.begin_task(learner, task)
        learner.rebuild()
        training.start(task)
        method.fit(learner, task, training.fit, ())
        method.end_task(learner, task, ())
        rows.append(evaluate(learner, method, stream.evaluation, 1000))
        if corrupt:
            parts = getattr(method, "parts", {})
            memories = [v for part in (method, *parts.values()) for v in vars(part).values() if isinstance(v, Memory)]
            held = {row for memory in memories for _, row in memory.samples}
            gone = [row for row in task.train.rows.tolist() if row not in held]
            task.train.pool.inputs[gone] = 0
    return rows


def check_neutral(
    method: str | Mapping[str, Any], neutral: Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]
) -> None:
    """Check that the method, switched off by `neutral`, is naive fine-tuning bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        cell = make_cell(method, overrides, config_dirs, results_dir=Path(folder) / "off")
        off = copy.deepcopy(cell.config["method"])
        off.update(neutral)
        nothing = run(make_cell(off, overrides, config_dirs, results_dir=Path(folder) / "off")).result
        others = [override for override in overrides if not override.startswith("method.")]
        plain = run(make_cell("naive", others, results_dir=Path(folder) / "plain")).result
    assert nothing["matrix"] == plain["matrix"], f"with {dict(neutral)} the matrix is not that of naive fine-tuning"
    assert nothing["curves"] == plain["curves"], f"with {dict(neutral)} the losses are not those of naive fine-tuning"


def check_stackable(
    method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path], tolerance: float = 1e-6
) -> None:
    """Check that the per-step hooks hold with a leading replica axis.

    Two replicas with different seeds learn two tasks apart. Then `edit_gradients` and `edit_update` are called on random
    tensors once per replica, and once on all stacked `[2, ...]` with the method's state stacked likewise; the results must
    agree to `tolerance`, relative to the largest entry. A method that changes `extend_batch`, `criterion`, `penalty` or
    `predict` cannot be proved this way and must not declare `stackable`.

    Args:
        method: as `make_cell`.
        overrides: as `make_cell`.
        config_dirs: as `make_cell`.
        tolerance: see above.
    """
    replicas = [_after_two_tasks(method, overrides, config_dirs, seed) for seed in (0, 1)]
    stream, one, learner = replicas[0]
    unproved = [hook for hook in ("extend_batch", "criterion", "penalty", "predict") if one.overrides(hook)]
    assert not unproved, f"a method that changes {unproved[0]} cannot declare stackable"
    together = build(make_cell(method, overrides, config_dirs).config["method"], "method")
    together.setup(learner, stream)
    together.load_state(learner, _stack([made.state() for _, made, _ in replicas]))
    draws = torch.Generator().manual_seed(0)
    noise = [{n: torch.randn(p.shape, generator=draws) for n, p in lrn.parameters.items()} for _, _, lrn in replicas]
    stacked = _stack(noise)
    parameters = _stack([{n: p.detach() for n, p in lrn.parameters.items()} for _, _, lrn in replicas])
    with torch.no_grad():
        for (_, made, lrn), values in zip(replicas, noise, strict=True):
            lrn.gradients = values
            made.edit_gradients(lrn, None)  # type: ignore[arg-type]
            made.edit_update(lrn, values)
        learner.gradients, learner.parameters = stacked, parameters
        together.edit_gradients(learner, None)
        together.edit_update(learner, stacked)
    for name, value in stacked.items():
        apart = torch.stack([values[name] for values in noise])
        error = float((value - apart).abs().max() / apart.abs().max().clamp(min=1e-12))
        assert error <= tolerance, f"stacked hooks differ from single ones on {name} by {error:.1e} (allowed {tolerance:.0e})"


def _after_two_tasks(
    method: Any, overrides: Sequence[str], config_dirs: Sequence[str | Path], seed: int
) -> tuple[Stream, Method, Any]:
    from clbench.engine.training import Training
    from clbench.trial import assemble

    with tempfile.TemporaryDirectory() as folder:
        cell = make_cell(method, overrides, config_dirs, seed=seed, results_dir=folder)
        stream, made, learner, trainer = assemble(cell, torch.device("cpu"))
        training = Training(learner, made, trainer)
        for task in stream.tasks[:2]:
            history = stream.tasks[: task.index] if made.access == "seen" else ()
            learner.start(task.index)
            made.begin_task(learner, task)
            learner.rebuild()
            training.start(task)
            made.fit(learner, task, training.fit, history)
            made.end_task(learner, task, history)
    return stream, made, learner


def _stack(trees: Sequence[Any]) -> Any:
    """Return one tree whose tensors have a leading axis over `trees`; plain values must agree."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.stack(list(trees))
    if isinstance(first, dict):
        return {key: _stack([tree[key] for tree in trees]) for key in first}
    if isinstance(first, (list, tuple)):
        return [_stack(items) for items in zip(*trees, strict=True)]
    assert all(tree == first for tree in trees), "plain values in the state differ between replicas"
    return first


def check_scenario(scenario: str, overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> None:
    """Check everything the suite promises of a scenario; the first broken promise is raised as an AssertionError.

    Same seed, same stream; training, validation and test samples disjoint; labels within the outputs of the setting;
    every learning task with an evaluation set of its own, in order.

    Args:
        scenario: name of a configuration in the group `scenario`.
        overrides: as on the command line.
        config_dirs: as `make_cell`.
    """
    from clbench.trial import assemble

    def stream(*more: str) -> Stream:
        return assemble(make_cell("naive", [f"scenario={scenario}", *overrides, *more], config_dirs), torch.device("cpu"))[0]

    one, again = stream(), stream()
    assert one.fingerprint, "the stream has no fingerprint"
    assert one.fingerprint == again.fingerprint, "the same seed gives another stream"
    learned = [task for task in one.tasks if task.kind == "learn"]
    assert [task.index for task in one.tasks] == list(range(len(one))), "task indices must be 0, 1, 2, …"
    columns = [column for column in one.evaluation if column.role == "task"]
    assert len(columns) == len(learned), "every learning task needs one evaluation set of role task"
    for task, column in zip(learned, columns, strict=True):
        size = one.head_sizes[task.index] if one.setting == "task" else one.head_sizes[0]
        for what, split in (("train", task.train), ("valid", task.valid), ("test", column.split)):
            if split is None:
                continue
            assert len(split) > 0, f"task {task.index} has no {what} samples"
            assert int(split.labels.min()) >= 0, f"task {task.index} has a negative {what} label"
            assert int(split.labels.max()) < size, f"task {task.index} has a {what} label beyond its {size} outputs"
        if task.valid is not None:
            assert not set(task.train.rows.tolist()) & set(task.valid.rows.tolist()), f"task {task.index}: valid overlaps train"
        same_pool = task.train.pool.inputs.data_ptr() == column.split.pool.inputs.data_ptr()
        assert not same_pool or not set(task.train.rows.tolist()) & set(column.split.rows.tolist()), "test samples are trained on"
