"""What the suite promises of a method, checked."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from clbench.errors import RefusedError
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.run_spec import RunSpec
from clbench.stream import Stream
from clbench.testing.make_run import make_spec, run
from clbench.testing.stacking_checks import check_stackable

SETTINGS = ("task", "domain", "class")


class InterruptedRunError(Exception):
    """Stands for the death of a process right after a checkpoint."""


def check_method(
    method: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    neutral: Mapping[str, Any] | None = None,
) -> None:
    """Check everything the suite promises of a method; the first broken promise is raised as an AssertionError.

    Interface; refusal of settings it does not declare; and in each declared setting: determinism, equality after resuming
    at every task, blindness to what its access does not cover, a neutral strength that is the plain run bit for bit, and
    (if it declares `stackable`) hooks that hold with a leading replica axis. Parameters that train by other names only when it
    declares that it renews them. At requests to forget: refusal unless it says what
    it does then; else determinism, resuming, and blindness to all but the request and, if declared, what is retained.

    Args:
        method: as `make_spec` takes it.
        overrides: further overrides for every run.
        config_dirs: as `make_spec`.
        neutral: hyper-parameters that switch the method off, e.g. `{"strength": 0.0}`; None: it has none.
    """
    spec = make_spec(method, overrides, config_dirs)
    made = instantiate(spec.config["method"], "method")
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
    check_renewal(method, [*overrides, f"scenario.setting={min(made.settings)}"], config_dirs)
    if "class" in made.settings:
        check_requests(method, overrides, config_dirs)


def check_interface(method: Any) -> None:
    """Check what a method is and declares."""
    assert isinstance(method, Method), f"{type(method).__name__} is not derived from clbench.method.Method"
    assert set(method.settings) <= set(SETTINGS), f"unknown settings {set(method.settings) - set(SETTINGS)}"
    assert method.settings, "a method must declare at least one setting"
    assert method.requests in ("refused", "skipped", "met"), f"unknown requests {method.requests!r}"
    assert method.access in ("current", "seen", "all", "retained"), f"unknown access {method.access!r}"
    assert method.holds in ("nothing", "trained", "layers"), f"unknown holds {method.holds!r}"
    assert method.renews in ("never", "once", "later"), f"unknown renews {method.renews!r}"
    known = {name for name in vars(Method) if not name.startswith("_")}
    near = {name for name in vars(type(method)) if not name.startswith("_") and name not in known}
    typos = [name for name in near if any(name.replace("_", "") == other.replace("_", "") for other in known)]
    assert not typos, f"{typos[0]} looks like a hook but is none; hooks are {sorted(known)}"


def check_refusal(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a setting which the method does not declare is refused, by name."""
    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(method, overrides, config_dirs, results_dir=folder)
        try:
            run(spec)
        except RefusedError as error:
            refusal = str(error)
        else:
            refusal = ""
    assert refusal, f"the setting {spec.setting} is not declared, but was not refused"
    assert spec.setting in refusal, f"the refusal does not name the setting {spec.setting}: {refusal}"


def check_repeats(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that the same run gives the same result, bit for bit, and another seed another."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two, tempfile.TemporaryDirectory() as three:
        first = run(make_spec(method, overrides, config_dirs, results_dir=one)).result
        torch.rand(7)  # whatever happened in the process before must not matter
        second = run(make_spec(method, overrides, config_dirs, results_dir=two)).result
        other = run(make_spec(method, overrides, config_dirs, seed=1, results_dir=three)).result
    assert first == second, "two runs of the same cell differ: is a random number drawn outside learner.generator?"
    assert first["matrix"] != other["matrix"], "another seed gives the same matrix: is the seed ignored?"


def check_resumes(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a run which died after any of its tasks goes on to the identical result."""
    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(method, overrides, config_dirs, results_dir=folder)
        whole = run(make_spec(method, overrides, config_dirs, results_dir=Path(folder) / "whole")).result
        for _ in range(whole["n_tasks"] + len((whole.get("unlearning") or {}).get("requests", ()))):
            try:
                result = _run_one_task(spec)
                break
            except InterruptedRunError:
                continue
        else:
            result = run(spec).result
    assert result == whole, "a resumed run differs from an undisturbed one: is something kept outside the method's attributes?"


def _run_one_task(spec: RunSpec) -> dict[str, Any]:
    """Run until the next checkpoint is written, then die; return the result if there was none left to write."""
    from clbench.runs.run import Trial, run_trial

    original = Trial.save

    def save_and_die(trial: Trial, task: Any) -> None:
        original(trial, task)
        if task is not trial.stream.tasks[-1]:
            raise InterruptedRunError

    Trial.save = save_and_die  # type: ignore[method-assign, assignment]
    try:
        return run_trial(spec, lambda event: None).result
    finally:
        Trial.save = original  # type: ignore[method-assign]


def check_access(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a method with access `current` does not depend on earlier tasks' data it does not hold in memory.

    After each task, the pool's rows of that task are overwritten, but for those that a memory of the method names (those
    count as its state). The result must not change.
    """
    from clbench.engine.evaluation.accuracy import evaluate
    from clbench.runs.run import assemble

    if instantiate(make_spec(method, overrides, config_dirs).config["method"], "method").access != "current":
        return
    results = []
    for corrupt in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            spec = make_spec(method, overrides, config_dirs, results_dir=folder)
            stream, made, learner, training = assemble(spec, torch.device("cpu"))
            results.append(_learn_corrupted(stream, made, learner, training, corrupt, evaluate))
    assert results[0] == results[1], "the result depends on data of earlier tasks that the method does not hold in memory"


def _learn_corrupted(stream: Stream, method: Method, learner: Any, training: Any, corrupt: bool, evaluate: Any) -> list[Any]:
    from clbench.engine.state_size import memories

    rows = []
    for task in stream.tasks:
        training.learn(task)
        rows.append(evaluate(learner, method, stream.evaluation, 1000))
        if corrupt:
            held = {row for memory in memories(method) for _, row in memory.samples}
            gone = [row for row in task.train.rows.tolist() if row not in held]
            task.train.pool.inputs[gone] = 0
    return rows


def check_renewal(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that what trains in the backbone goes by other names no earlier and no oftener than `renews` says."""
    from clbench.runs.run import assemble

    with tempfile.TemporaryDirectory() as folder:
        stream, made, learner, training = assemble(
            make_spec(method, overrides, config_dirs, results_dir=folder), torch.device("cpu")
        )
        known, found = set(learner.parameters), list[set[str]]()
        begin = type(made).begin_task

        def watched(self: Method, other: Any, task: Any) -> None:
            begin(self, other, task)
            parts = other.model.backbone.named_parameters(prefix="backbone")
            found.append({name for name, parameter in parts if parameter.requires_grad})

        with patch.object(type(made), "begin_task", watched):
            for task in stream.tasks if made.access != "all" else stream.tasks[-1:]:
                training.learn(task)
    new = [names - known for names in found]
    later = set().union(*new[1:]) - new[0]
    if made.renews == "never":
        assert not new[0] | later, f"{min(new[0] | later)} trains and was not there at first: declare renews"
    if made.renews != "later":
        assert not later, f"{min(later)} trains and was not there in the first task: declare renews = 'later'"


def check_requests(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check what a method does when something is to be forgotten, on a stream of four requests.

    If it refuses: that it does. Else that runs repeat and resume, and that it does not depend on samples it is not handed: before
    each request all training samples but its own and, for access `retained`, those still to be retained, are overwritten.
    """
    from clbench.runs.run import assemble

    options = [*overrides, "scenario=unlearn_digits", "scenario.n_tasks=1", "scenario.relearn_steps=2", "scenario.goal=retrain"]
    made = instantiate(make_spec(method, options, config_dirs).config["method"], "method")
    if made.requests == "refused":
        try:
            assemble(make_spec(method, options, config_dirs), torch.device("cpu"))
        except RefusedError:
            return
        raise AssertionError("the method does not say what it does at a request to forget, but was not refused")
    check_repeats(method, options, config_dirs)
    check_resumes(method, options, config_dirs)
    rows = [_learn_blinded(make_spec(method, options, config_dirs), corrupt) for corrupt in (False, True)]
    assert rows[0] == rows[1], "at a request the method depends on data that it is not handed"


def _learn_blinded(spec: RunSpec, corrupt: bool) -> list[Any]:
    from clbench.engine.evaluation.accuracy import evaluate
    from clbench.engine.training.data_access import retained
    from clbench.runs.run import assemble

    stream, method, learner, training = assemble(spec, torch.device("cpu"))
    rows, pool = list[Any](), stream.tasks[0].train.pool
    columns = tuple(column for column in stream.evaluation if column.split.pool is not pool)
    whole = pool.inputs.clone()
    for task in stream.tasks:
        if corrupt and task.kind == "forget":
            handed = [task, *(retained(stream, task) if method.access == "retained" else ())]
            hidden = torch.ones(len(pool), dtype=torch.bool)
            hidden[torch.cat([each.train.rows for each in handed])] = False
            pool.inputs[hidden] = 0
        training.learn(task)
        pool.inputs.copy_(whole)
        rows.append(evaluate(learner, method, columns, 1000))
    return rows


def check_neutral(
    method: str | Mapping[str, Any], neutral: Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]
) -> None:
    """Check that the method, switched off by `neutral`, is naive fine-tuning bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(method, overrides, config_dirs, results_dir=Path(folder) / "off")
        off = copy.deepcopy(spec.config["method"])
        off.update(neutral)
        nothing = run(make_spec(off, overrides, config_dirs, results_dir=Path(folder) / "off")).result
        others = [override for override in overrides if not override.startswith("method.")]
        plain = run(make_spec("naive", others, results_dir=Path(folder) / "plain")).result
    assert nothing["matrix"] == plain["matrix"], f"with {dict(neutral)} the matrix is not that of naive fine-tuning"
    assert nothing["curves"] == plain["curves"], f"with {dict(neutral)} the losses are not those of naive fine-tuning"
