"""Checks of the suite's promises about a method."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from clbench.contract.protocols import OPTIONAL_HOOKS
from clbench.contract.traits import DERIVED, REPLACES_PARAMETERS
from clbench.errors import RefusedError
from clbench.instantiate import instantiate
from clbench.method import Method, Trait
from clbench.methods.compose import Compose
from clbench.run_spec import RunSpec
from clbench.stream import Stream
from clbench.testing.hidden_data_checks import check_hidden_data
from clbench.testing.make_run import make_spec, run
from clbench.testing.read_only_checks import check_read_only
from clbench.testing.stacking_checks import check_stackable

SETTINGS = ("task", "domain", "class")


class InterruptedRunError(Exception):
    """Simulates the end of a process right after a checkpoint."""


def check_method(
    method: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    neutral: Mapping[str, Any] | None = None,
) -> None:
    """Check all promises of the suite about a method. The first broken one is raised as an AssertionError.

    The checks cover:
        the interface, and refusal of undeclared settings;
        in each declared setting: determinism, equality after resuming at every task, independence of data outside the access and
            of test samples; with a neutral strength, equality with naive fine-tuning bit for bit; with `stackable`, hooks on
            tensors with a leading replica axis; with `Trait.READ_ONLY_UPDATE`, that `edit_update` changes nothing of the step;
        replaced parameters, only if a trait declares them;
        requests to forget: refusal, if the method does not declare a reaction; otherwise determinism, resuming, and independence
            of all data except the request and, if declared, retained data.

    Args:
        method: as in `make_spec`.
        overrides: further overrides for every run.
        config_dirs: as in `make_spec`.
        neutral: hyper-parameters that switch the method off, e.g. `{"strength": 0.0}`; None: the method has none.
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
        check_hidden_data(method, options, config_dirs)
        check_read_only(method, options, config_dirs)
        if neutral is not None:
            check_neutral(method, neutral, options, config_dirs)
        if made.stackable:
            check_stackable(method, options, config_dirs)
    check_replaced_parameters(method, [*overrides, f"scenario.setting={min(made.settings)}"], config_dirs)
    if "class" in made.settings:
        check_requests(method, overrides, config_dirs)


def check_interface(method: Any) -> None:
    """Check the class and the declarations of a method."""
    assert isinstance(method, Method), f"{type(method).__name__} is not derived from clbench.method.Method"
    assert set(method.settings) <= set(SETTINGS), f"unknown settings {set(method.settings) - set(SETTINGS)}"
    assert method.settings, "a method must declare at least one setting"
    assert method.requests in ("refused", "ignored", "handled"), f"unknown requests {method.requests!r}"
    assert method.access in ("current", "seen", "all", "retained"), f"unknown access {method.access!r}"
    declared = set(method.traits)
    assert declared <= set(Trait), f"unknown traits {declared - set(Trait)}"
    assert isinstance(method, Compose) or not declared & DERIVED, f"{declared & DERIVED} is derived from hooks: do not declare it"
    known = {name for name in vars(Method) if not name.startswith("_")} | set(OPTIONAL_HOOKS)
    near = {name for name in vars(type(method)) if not name.startswith("_") and name not in known}
    typos = [name for name in near if any(name.replace("_", "") == other.replace("_", "") for other in known)]
    assert not typos, f"{typos[0]} looks like a hook but is none; hooks are {sorted(known)}"


def check_refusal(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that an undeclared setting is refused, by name."""
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
    """Check that the same run gives the same result, bit for bit, and that another seed gives another result."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two, tempfile.TemporaryDirectory() as three:
        first = run(make_spec(method, overrides, config_dirs, results_dir=one)).result
        torch.rand(7)  # earlier random draws in the process must not matter
        second = run(make_spec(method, overrides, config_dirs, results_dir=two)).result
        other = run(make_spec(method, overrides, config_dirs, seed=1, results_dir=three)).result
    assert first == second, "two runs with the same seed differ: is a random number drawn outside learner.generator?"
    assert first["matrix"] != other["matrix"], "another seed gives the same matrix: is the seed ignored?"


def check_resumes(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Interrupt a run after each task; check that the resumed run has the identical result."""
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
    assert result == whole, (
        "a resumed run differs from an uninterrupted one: is something stored outside the method's attributes?"
    )


def _run_one_task(spec: RunSpec) -> dict[str, Any]:
    """Run until the next checkpoint, then stop. After the last task, return the result.

    It has as many threads as the uninterrupted run: another number rounds otherwise.
    """
    from clbench.runs.run import Run

    original = Run.save

    def save_and_die(present: Run, task: Any) -> None:
        original(present, task)
        if task is not present.stream.tasks[-1]:
            raise InterruptedRunError

    Run.save = save_and_die  # type: ignore[method-assign, assignment]
    try:
        return run(spec).result
    finally:
        Run.save = original  # type: ignore[method-assign]


def check_access(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check that a method with access `current` depends on no data outside the current task, except samples in its memory.

    While a task is learned, all other rows of the pool are overwritten, except those in a memory of the method (they count as
    its state). The result must not change.
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
    assert results[0] == results[1], "the result depends on data of earlier or later tasks that is not in the method's memory"


def _learn_corrupted(stream: Stream, method: Method, learner: Any, training: Any, corrupt: bool, evaluate: Any) -> list[Any]:
    from clbench.engine.state_size import memories

    rows, pool = list[Any](), stream.tasks[0].train.pool
    whole = pool.inputs.clone()
    for task in stream.tasks:
        if corrupt:
            pool.inputs.zero_()
            held = [row for memory in memories(method) for _, row in memory.samples]
            for kept in (task.train.rows, *(() if task.valid is None else (task.valid.rows,)), torch.tensor(held).long()):
                pool.inputs[kept] = whole[kept]
        training.learn(task)
        rows.append(evaluate(learner, method, stream.evaluation, 1000))
    return rows


def check_replaced_parameters(
    method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]
) -> None:
    """Check that the backbone's trained parameters change their names only as the traits say: never, before task 0, or later."""
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
    if not made.traits & REPLACES_PARAMETERS:
        assert not new[0] | later, (
            f"{min(new[0] | later)} trains and was not there at first: declare a trait REPLACES_PARAMETERS_..."
        )
    if Trait.REPLACES_PARAMETERS_LATER not in made.traits:
        assert not later, f"{min(later)} trains and was not there in task 0: declare Trait.REPLACES_PARAMETERS_LATER"


def check_requests(method: str | Mapping[str, Any], overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> None:
    """Check a method's reaction to requests to forget, on a stream of four requests.

    A method with `requests = "refused"` must refuse. All other runs must repeat and resume, and must not depend on other samples:
    before each request, all training samples are overwritten, except its own and, with access `retained`, the retained ones.
    """
    from clbench.runs.run import assemble

    options = [*overrides, "scenario=unlearn_digits", "scenario.n_tasks=1", "scenario.relearn_steps=2", "scenario.goal=retrain"]
    made = instantiate(make_spec(method, options, config_dirs).config["method"], "method")
    if made.requests == "refused":
        try:
            assemble(make_spec(method, options, config_dirs), torch.device("cpu"))
        except RefusedError:
            return
        raise AssertionError("the method does not declare its reaction to requests to forget, but was not refused")
    check_repeats(method, options, config_dirs)
    check_resumes(method, options, config_dirs)
    check_hidden_data(method, options, config_dirs)
    rows = [_learn_blinded(make_spec(method, options, config_dirs), corrupt) for corrupt in (False, True)]
    assert rows[0] == rows[1], "at a request the method depends on data outside its access"


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
            allowed = [task, *(retained(stream, task) if method.access == "retained" else ())]
            hidden = torch.ones(len(pool), dtype=torch.bool)
            hidden[torch.cat([each.train.rows for each in allowed])] = False
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
