"""What cannot be composed, with the reason, when it is put together; and that what can be does what it should."""

import pytest

from clbench.errors import RefusedError
from clbench.methods.compose import Compose
from clbench.methods.gdumb import GDumb
from clbench.methods.joint import Cumulative, Joint
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, same, weights

ADAPTER = {"rank": 2, "alpha": 4.0, "dropout": 0.0}
PENALTIES = ("ewc", "si", "si_bounded", "mas")
PROJECTIONS = ("gpm", "sgp", "trgp", "rogo", "owm", "ogd", "adam_nscl")
IN_THE_PLACE_OF_LAYERS = ("seq_lora", "inc_lora", "olora", "osft")


def make(name, **changes):
    return shipped(name, **(ADAPTER | changes if name.endswith("lora") else changes))


def refused(reason, **parts):
    """Whatever the order."""
    for order in (parts, dict(reversed(parts.items()))):
        with pytest.raises(RefusedError, match=reason) as caught:
            Compose(order)
        assert caught.value.remedy


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    ("name", "changes"),
    [("inc_lora", {}), ("olora", {}), ("osft", {}), ("osft", {"from_task": 0}), ("seq_lora", {"base": "first_task"})],
)
def test_a_penalty_by_name_is_refused_beside_parameters_that_come_later(penalty, name, changes):
    refused("pen holds parameters by their names, and new lets others train", pen=make(penalty), new=make(name, **changes))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ["trgp", "rogo"])
def test_a_penalty_by_name_is_refused_beside_functions_of_parameters(penalty, name):
    refused("pen holds parameters by their names, and fun computes with functions", pen=make(penalty), fun=make(name))


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("name", IN_THE_PLACE_OF_LAYERS)
def test_a_projection_of_layers_is_refused_beside_what_trains_in_their_place(projection, name):
    refused("pro projects the steps of the model's own layers, and new lets other", pro=make(projection), new=make(name))


def test_two_parts_in_the_place_of_layers_are_refused():
    refused(r"parts (a and b|b and a) both put parameters", a=make("seq_lora"), b=make("osft"))


LEANING = [
    ("freeze", {}),
    ("seq_lora", {"base": "first_task"}),
    ("inc_lora", {"base": "first_task"}),
    ("osft", {}),
    ("gpm", {}),
    ("ogd", {}),
]


@pytest.mark.parametrize(("name", "changes"), LEANING)
def test_all_tasks_in_one_event_are_refused_beside_what_rests_on_the_first(name, changes):
    refused("all learns all tasks in one event, and lean rests on", all=Joint(), lean=make(name, **changes))


@pytest.mark.parametrize(("name", "changes"), [("freeze", {"from_task": 0}), ("seq_lora", {}), ("inc_lora", {}), ("ewc", {})])
def test_all_tasks_in_one_event_go_with_what_acts_from_the_start(name, changes):
    Compose({"all": Joint(), "part": make(name, **changes)})


@pytest.mark.parametrize("start", [Cumulative(True), GDumb(30)])
def test_a_start_from_initial_weights_is_refused_beside_layers_that_were_to_keep_what_was_learned(start):
    refused("start returns the model to its initial weights .* freeze keeps", start=start, freeze=make("freeze"))
    Compose({"start": start, "freeze": make("freeze", from_task=0)})


def test_a_composition_declares_what_its_parts_do():
    inner = Compose({"ewc": make("ewc"), "freeze": make("freeze")})
    assert (inner.holds, inner.renews, inner.leans) == ("trained", "never", True)
    refused("inner holds parameters", inner=inner, lora=make("inc_lora"))
    assert Compose({"lora": make("seq_lora"), "er": make("er")}).renews == "once"


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_holds_the_one_adapter_whatever_the_order(penalty):
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
