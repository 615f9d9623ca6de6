"""The kit's checks of all shipped methods and scenarios, and of methods that break each promise."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch

from clbench.config.hydra_compose import conf_dir
from clbench.method import Method, Trait
from clbench.runs.run import Run
from clbench.testing import (
    check_access,
    check_method,
    check_neutral,
    check_repeats,
    check_replaced_parameters,
    check_requests,
    check_resumes,
    check_scenario,
    check_stackable,
)

NEUTRAL = {
    "ewc": {"strength": 0.0},
    "ewc_online": {"strength": 0.0},
    "gpm": {"threshold": 0.0},
    "sgp": {"threshold": 0.0},
    "rogo": {"threshold": 0.0},
    "trgp": {"threshold": 0.0},
    "adam_nscl": {"ratio": 1e30},
    "naive": {},
    "osft": {"schedule": "fixed", "fraction": 0.0},
    "freeze": {"layers": 0, "embeddings": False},
}
NEUTRAL |= {name: {"strength": 0.0} for name in ("lwf", "mas", "si", "si_bounded")}
NEUTRAL |= {name: {} for name in ("ga", "gd", "kl_ga", "npo", "simnpo", "random_labels", "task_vector", "retrain", "bad_teacher")}
NEUTRAL |= {"der": {"alpha": 0.0}, "derpp": {"alpha": 0.0, "beta": 0.0}}
OVERRIDES = {"ranpac": ["method.projection=64"], "rogo": ["trainer.epochs=2"]}
# without requests O3 is naive bit for bit: tests/methods/test_o3.py
OVERRIDES |= {name: ["method.epochs=2", "method.detector.training.epochs=1"] for name in ("o3", "o3_authors")}
METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml") if path.stem != "compose")
EMBEDDED = ["split_digits", "permuted_digits", "rotated_digits"]


@pytest.mark.parametrize("method", METHODS)
def test_what_the_suite_ships_keeps_its_promises(method):
    check_method(method, OVERRIDES.get(method, ()), neutral=NEUTRAL.get(method))


@pytest.mark.parametrize("scenario", EMBEDDED)
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_embedded_scenarios_keep_theirs(scenario, setting):
    check_scenario(scenario, [f"scenario.setting={setting}", "scenario.valid_fraction=0.1"])


@dataclass
class Careless(Method):
    """Draws from a global generator."""

    def edit_update(self, learner, updates):
        for update in updates.values():
            update += random.random()


@dataclass
class Hoarder(Method):
    """Stores earlier tasks outside a memory, and trains on them."""

    def setup(self, learner, stream):
        self.rows = torch.zeros(0, dtype=torch.int64)

    def extend_batch(self, learner, batch):
        if not len(self.rows):
            return batch
        old = learner.stream.gather(self.rows[:8], torch.zeros(8, dtype=torch.int64))
        return learner.join(batch, learner.batch(old, torch.arange(8)))

    def end_task(self, learner, task, history):
        self.rows = torch.cat([self.rows, task.train.rows[:8]])


@dataclass
class Forgetful(Method):
    """Stores its state outside its own attributes, so that a resumed run lacks it."""

    def setup(self, learner, stream):
        learner.steps = []

    def end_task(self, learner, task, history):
        learner.steps.append(task.index)

    def edit_update(self, learner, updates):
        for update in updates.values():
            update /= 1 + len(learner.steps)


@dataclass
class NeverOff(Method):
    """Has an effect even at strength 0."""

    strength: float = 0.0

    def edit_update(self, learner, updates):
        for update in updates.values():
            update *= 1.5


@dataclass
class Flat(Method):
    """Declares stackable, but mixes replicas."""

    stackable = True

    def edit_update(self, learner, updates):
        for update in updates.values():
            update /= update.norm()


@dataclass
class Scaled(Method):
    """Declares stackable, but rescales every weight by its norm over all replicas."""

    stackable = True

    def after_step(self, learner):
        for weight in learner.parameters.values():
            weight /= weight.norm().clamp(min=1)


@dataclass
class FirstOnly(Method):
    """Declares stackable, but acts on the model of one replica."""

    stackable = True

    def after_step(self, learner):
        for weight in learner.model.parameters():
            weight *= 0.5


@dataclass
class Constrained(Method):
    """Bounds the norm of every row, for any number of leading axes."""

    stackable = True

    def after_step(self, learner):
        for weight in learner.parameters.values():
            weight /= weight.norm(dim=-1, keepdim=True).clamp(min=1)


@dataclass
class Peeking(Method):
    """Declares no retained data, and trains on all data at a request."""

    requests = "handled"

    def fit(self, learner, task, train, history):
        assert not history
        train(task.train if task.kind == "learn" else learner.stream.tasks[0].train)


@dataclass
class Relapsing(Method):
    """Trains on data that earlier requests asked to forget."""

    requests = "handled"
    access = "retained"

    def fit(self, learner, task, train, history):
        if task.kind == "learn":
            train(task.train)
        elif len(learner.stream.requests) and task is not learner.stream.requests[0]:
            train(learner.stream.requests[0].train)


@dataclass
class Growing(Method):
    """Replaces a layer by a copy at every task, without the trait."""

    def begin_task(self, learner, task):
        backbone = learner.model.backbone
        name, layer = next((name, layer) for name, layer in backbone.named_modules() if isinstance(layer, torch.nn.Linear))
        backbone.set_submodule(name, torch.nn.Sequential(layer))
        learner.rebuild()


@dataclass
class Wrapping(Growing):
    """Declares that it replaces parameters only once."""

    traits = frozenset({Trait.REPLACES_PARAMETERS_ONCE})


def node(cls):
    return {"_target_": f"tests.test_testing.{cls.__name__}"}


@pytest.mark.parametrize(
    ("check", "cls", "complaint"),
    [
        (check_repeats, Careless, "two runs with the same seed differ"),
        (check_access, Hoarder, "depends on data of earlier or later tasks"),
        (check_stackable, Flat, "stacked hooks differ.*edit_update"),
        (check_stackable, Scaled, "stacked hooks differ.*after_step"),
        (check_stackable, FirstOnly, "stacked hooks differ.*after_step"),
        (check_requests, Peeking, "outside its access"),
        (check_requests, Relapsing, "outside its access"),
        (check_replaced_parameters, Growing, "trains and was not there at first: declare a trait"),
        (check_replaced_parameters, Wrapping, "trains and was not there in task 0"),
    ],
)
def test_a_broken_promise_is_found(check, cls, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check(node(cls), [], [])


def test_a_constraint_on_weights_may_be_stackable():
    check_stackable(node(Constrained), [], [])


@pytest.mark.parametrize("options", [[], ["scenario.goal=retrain", "scenario.n_tasks=2", "scenario.valid_fraction=0.2"]])
def test_a_stream_with_requests_keeps_its_promises(options):
    check_scenario("unlearn_digits", ["scenario.n_tasks=1", *options])


def test_what_is_kept_elsewhere_is_found_by_resuming():
    with pytest.raises(AssertionError, match="resumed run differs"):
        check_resumes(node(Forgetful), [], [])


def test_a_strength_that_does_not_switch_off_is_found():
    with pytest.raises(AssertionError, match="not that of naive"):
        check_neutral(node(NeverOff), {"strength": 0.0}, [], [])


def test_a_resumed_run_has_as_many_threads_as_a_whole_one(monkeypatch):
    seen, begin = set(), Run.begin
    monkeypatch.setattr(Run, "begin", lambda run, *args: (seen.add(torch.get_num_threads()), begin(run, *args))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check_resumes("naive", [], [])
    finally:
        torch.set_num_threads(before)
    assert seen == {1}
