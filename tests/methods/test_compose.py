"""Composition: order, sums, refusals."""

import pytest
import torch

from clbench.errors import ConfigError, RefusedError
from clbench.method import Method, Trait
from clbench.methods.compose import Compose
from clbench.methods.er import ER
from clbench.methods.ewc import EWC
from clbench.methods.joint import Cumulative, Joint
from clbench.methods.naive import Naive
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, weights


def ewc(strength=5.0):
    return EWC(strength, "online", 1.0, "empirical", 30)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_one_part_alone_is_that_part(setting):
    stream = blob_stream(setting)
    for make in (ewc, lambda: ER(30, 8, "reservoir"), lambda: shipped("gpm", threshold=0.9, samples=50), Naive):
        alone, _ = learn(make(), stream)
        composed, _ = learn(Compose({"only": make()}), stream)
        assert same(weights(alone), weights(composed))


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_replay_and_a_penalty_of_zero_is_replay(setting):
    stream = blob_stream(setting)
    er, _ = learn(ER(30, 8, "reservoir"), stream)
    both, _ = learn(Compose({"er": ER(30, 8, "reservoir"), "ewc": ewc(0.0)}), stream)
    assert same(weights(er), weights(both))
    strong, _ = learn(Compose({"er": ER(30, 8, "reservoir"), "ewc": ewc(20.0)}), stream)
    assert not same(weights(er), weights(strong))


def test_penalties_add_up():
    class Shift(Method):
        def penalty(self, learner, batch, logits):
            return logits.mean()

    stream = blob_stream()
    learner = learner_for(stream)
    learner.start(0)
    batch = learner.batch(stream.tasks[0].train, torch.arange(4))
    logits = learner.forward(batch)
    twice = Compose({"a": Shift(), "b": Shift(), "c": Naive()}).penalty(learner, batch, logits)
    torch.testing.assert_close(twice, 2 * logits.mean())


def test_two_owners_of_one_hook_are_refused_by_name():
    with pytest.raises(RefusedError, match="parts x and y both define their own fit"):
        Compose({"x": Joint(), "y": Cumulative(True)})


def test_replay_under_a_projection_is_refused_with_the_reason():
    with pytest.raises(RefusedError, match="projected away"):
        Compose({"er": ER(10, 2, "reservoir"), "gpm": shipped("gpm", threshold=0.9, samples=10)})


def test_starting_anew_under_a_projection_is_refused_with_the_reason():
    with pytest.raises(RefusedError, match="all returns the model to its initial weights at every task, and gpm keeps"):
        Compose({"all": Cumulative(True), "gpm": shipped("gpm", threshold=0.9, samples=10)})
    assert not Compose({"all": Cumulative(False), "gpm": shipped("gpm", threshold=0.9, samples=10)}).traits & {Trait.RESETS}
    assert Trait.RESETS in Compose({"all": Cumulative(True), "ewc": ewc()}).traits


def test_what_is_no_method_is_refused():
    with pytest.raises(ConfigError, match=r"method\.parts\.er"):
        Compose({"er": {"buffer_size": 3}})
    with pytest.raises(ConfigError, match="empty"):
        Compose({})


def test_settings_meet_and_access_widens():
    class Narrow(Method):
        settings = frozenset({"task"})

    both = Compose({"a": Narrow(), "b": Cumulative(False)})
    assert both.settings == {"task"}
    assert both.access == "seen"


def test_state_is_kept_by_part():
    stream = blob_stream()
    method = Compose({"er": ER(30, 8, "reservoir"), "ewc": ewc()})
    learner, _ = learn(method, stream, tasks=2)
    twin = Compose({"er": ER(30, 8, "reservoir"), "ewc": ewc()})
    twin.setup(learner, stream)
    twin.load_state(learner, method.state())
    assert twin.parts["er"].memory.samples == method.parts["er"].memory.samples
    assert same(twin.parts["ewc"].importance, method.parts["ewc"].importance)
