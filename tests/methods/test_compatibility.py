"""Compositions that are refused, with the reason, and compositions that work."""

import pytest

from clbench.errors import RefusedError
from clbench.method import Trait
from clbench.methods.compose import Compose
from clbench.methods.gdumb import GDumb
from clbench.methods.joint import Cumulative, Joint
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, same, weights

ADAPTER = {"rank": 2, "alpha": 4.0, "dropout": 0.0}
PENALTIES = ("ewc", "si", "si_bounded", "mas")
PROJECTIONS = ("gpm", "sgp", "trgp", "rogo", "owm", "ogd", "adam_nscl")
REPLACING = ("seq_lora", "inc_lora", "olora", "osft")


def make(name, **changes):
    return shipped(name, **(ADAPTER | changes if name.endswith("lora") else changes))


def refused(reason, **parts):
    """Check that the parts are refused in both orders."""
    for order in (parts, dict(reversed(parts.items()))):
        with pytest.raises(RefusedError, match=reason) as caught:
            Compose(order)
        assert caught.value.remedy


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    ("name", "changes"),
    [("inc_lora", {}), ("olora", {}), ("osft", {}), ("osft", {"from_task": 0}), ("seq_lora", {"base": "first_task"})],
)
def test_an_anchor_is_refused_beside_parameters_that_are_replaced_later(penalty, name, changes):
    refused(
        "pen anchors parameters by their names, and new trains parameters with other names",
        pen=make(penalty),
        new=make(name, **changes),
    )


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ["trgp", "rogo"])
def test_an_anchor_is_refused_beside_reparametrized_weights(penalty, name):
    refused("pen anchors parameters by their names, and fun computes weights from", pen=make(penalty), fun=make(name))


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("name", REPLACING)
def test_a_projection_of_layers_is_refused_beside_parameters_that_replace_theirs(projection, name):
    refused("pro projects the steps of the model's own layers, and new trains other", pro=make(projection), new=make(name))


def test_two_parts_that_replace_the_same_parameters_are_refused():
    refused("parts (a and b|b and a) both replace the layers' weights", a=make("seq_lora"), b=make("osft"))


NEEDS_FIRST_TASK = [
    ("freeze", {}),
    ("seq_lora", {"base": "first_task"}),
    ("inc_lora", {"base": "first_task"}),
    ("osft", {}),
    ("gpm", {}),
    ("ogd", {}),
]


@pytest.mark.parametrize(("name", "changes"), NEEDS_FIRST_TASK)
def test_joint_training_is_refused_beside_methods_that_need_a_first_task(name, changes):
    refused("all learns all tasks at once, and part needs a model already trained", all=Joint(), part=make(name, **changes))


@pytest.mark.parametrize(("name", "changes"), [("freeze", {"from_task": 0}), ("seq_lora", {}), ("inc_lora", {}), ("ewc", {})])
def test_joint_training_goes_with_methods_that_act_from_the_start(name, changes):
    Compose({"all": Joint(), "part": make(name, **changes)})


@pytest.mark.parametrize("start", [Cumulative(True), GDumb(30)])
def test_a_reset_is_refused_beside_layers_frozen_after_the_first_task(start):
    refused("start returns the model to its initial weights .* freeze keeps", start=start, freeze=make("freeze"))
    Compose({"start": start, "freeze": make("freeze", from_task=0)})


def test_a_composition_has_the_union_of_its_parts_traits():
    inner = Compose({"ewc": make("ewc"), "freeze": make("freeze")})
    assert inner.traits == {Trait.ANCHORS_TRAINED, Trait.NEEDS_FIRST_TASK}
    refused("inner anchors parameters", inner=inner, lora=make("inc_lora"))
    assert Compose({"lora": make("seq_lora"), "er": make("er")}).traits == {Trait.REPLACES_PARAMETERS_ONCE, Trait.REPLAYS}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_an_anchor_acts_on_the_one_adapter_in_any_order(penalty):
    pytest.importorskip("peft")
    stream = blob_stream("class")
    alone, _ = learn(make("seq_lora"), stream)
    held = []
    for order in (("lora", "pen"), ("pen", "lora")):
        parts = {"lora": make("seq_lora"), "pen": make(penalty)}
        learner, _ = learn(Compose({name: parts[name] for name in order}), stream)
        held.append(weights(learner))
        assert not same(weights(alone), held[-1])
        assert any("lora_A" in name and value.any() for name, value in parts["pen"].importance.items())
    assert same(*held)
