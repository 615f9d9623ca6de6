"""Methods written for an earlier contract keep working with a warning, or fail with the new spelling."""

import importlib

import pytest

from clbench.method import Method, Trait
from clbench.methods.compose import Compose
from clbench.methods.gpm import GPM
from clbench.methods.lora import SeqLoRA
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, same, weights


def made(body, base=Method):
    """Return the class `Old` with the attributes `body`, and check that a warning names the new spelling of each."""
    with pytest.warns(FutureWarning, match="is now") as caught:
        cls = type("Old", (base,), dict(body))
    assert len(caught) == len(body)
    assert all(str(warning.message).startswith("Old.") for warning in caught)
    return cls, " ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    ("flag", "value", "trait"),
    [
        ("replays", True, Trait.REPLAYS),
        ("resets", True, Trait.RESETS),
        ("accumulates", True, Trait.STORES_IN_WEIGHTS),
        ("observes", True, Trait.READ_ONLY_UPDATE),
        ("leans", True, Trait.NEEDS_FIRST_TASK),
        ("holds", "trained", Trait.ANCHORS_TRAINED),
        ("holds", "layers", Trait.ANCHORS_LAYERS),
        ("renews", "once", Trait.REPLACES_PARAMETERS_ONCE),
        ("renews", "later", Trait.REPLACES_PARAMETERS_LATER),
    ],
)
def test_an_earlier_flag_becomes_a_trait(flag, value, trait):
    cls, message = made({flag: value})
    assert cls.traits == {trait}
    assert f"Trait.{trait.name}" in message
    with pytest.raises(AttributeError, match=rf"no attribute '{flag}_'"):
        getattr(cls(), f"{flag}_")
    with pytest.raises(AttributeError, match="traits"):
        getattr(Naive(), flag)


@pytest.mark.parametrize(("flag", "value"), [("replays", False), ("holds", "nothing"), ("renews", "never")])
def test_an_earlier_flag_that_says_no_is_no_trait(flag, value):
    assert made({flag: value})[0].traits == frozenset()


def test_several_earlier_flags_become_several_traits_beside_inherited_ones():
    assert made({"resets": True, "holds": "trained", "renews": "later"})[0].traits == {
        Trait.RESETS,
        Trait.ANCHORS_TRAINED,
        Trait.REPLACES_PARAMETERS_LATER,
    }
    assert made({"leans": False}, GPM)[0].traits == {Trait.ANCHORS_LAYERS}
    assert made({"holds": "trained"}, GPM)[0].traits == {Trait.ANCHORS_TRAINED, Trait.NEEDS_FIRST_TASK}


@pytest.mark.parametrize(
    ("base", "flag", "value"),
    [(Method, "resets", property(lambda self: True)), (Method, "holds", "everything"), (SeqLoRA, "leans", False)],
)
def test_a_flag_that_cannot_be_mapped_fails_with_the_new_spelling(base, flag, value):
    with pytest.raises(TypeError, match=rf"Old\.{flag} was replaced by traits: .*Trait\.[A-Z_]+"):
        type("Old", (base,), {flag: value})


@pytest.mark.parametrize(("old", "new"), [("met", "handled"), ("skipped", "ignored")])
def test_an_earlier_value_of_requests_is_accepted(old, new):
    cls, message = made({"requests": old})
    assert cls.requests == new
    assert repr(new) in message
    assert type("New", (Method,), {"requests": new}).requests == new
    computed = type("Computed", (Method,), {"requests": property(lambda self: old)})()
    with pytest.warns(FutureWarning, match=repr(new)):
        assert computed.requests == new
    assert type("New", (Method,), {"requests": property(lambda self: new)})().requests == new


@pytest.mark.parametrize(("old", "new"), [("syncs", "host_sync"), ("answers", "supports_generation")])
@pytest.mark.parametrize("value", [True, property(lambda self: True)])
def test_an_earlier_switch_is_accepted(old, new, value):
    cls, message = made({old: value})
    assert getattr(cls(), new) is True
    assert message == f"Old.{old} is now called {new}"
    with pytest.raises(AttributeError, match=f"it is now called {new}"):
        getattr(Naive(), old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("substitutes", "reparametrize"),
        ("between_epochs", "on_epoch_end"),
        ("answering", "generation_context"),
        ("likeness", "forget_score"),
    ],
)
def test_an_earlier_hook_is_called_by_its_new_name(old, new):
    def hook(self, *arguments):
        return arguments

    method = made({old: hook})[0]()
    assert method.overrides(new)
    assert Compose({"a": Naive(), "b": method}).overrides(new)
    assert getattr(method, new)(1, 2) == (1, 2)
    assert getattr(method, old)(1, 2) == (1, 2)
    assert not Naive().overrides(new)


def test_a_method_with_earlier_hooks_trains_like_one_with_new_ones():
    def begin(self, learner, task):
        self._name = next(name for name in learner.parameters if name.endswith("weight"))

    def halved(self, learner, task_id):
        return {self._name: learner.parameters[self._name] / 2} if hasattr(self, "_name") else {}

    stream = blob_stream("domain")
    old, rows = learn(made({"substitutes": halved}, type("Base", (Method,), {"begin_task": begin}))[0](), stream)
    new, found = learn(type("New", (Method,), {"begin_task": begin, "reparametrize": halved})(), stream)
    plain, _ = learn(Naive(), stream)
    assert rows == found
    assert same(weights(old), weights(new))
    assert not same(weights(old), weights(plain))


def test_hyperparameters_and_methods_with_earlier_names_are_left_alone():
    def answers(self):
        return 3

    cls = type("New", (Method,), {"answers": answers, "holds": 0.5, "renews": 3})
    assert cls.traits == frozenset()
    assert cls().answers() == 3


def test_types_and_modules_of_the_earlier_contract_can_be_imported():
    base = importlib.import_module("clbench.methods.base")
    for name in ("Holds", "Renews"):
        with pytest.warns(FutureWarning, match="declare traits"):
            getattr(base, name)
    assert base.Access is importlib.import_module("clbench.method").Access
    with pytest.raises(AttributeError, match="Nothing"):
        base.Nothing  # noqa: B018


@pytest.mark.parametrize(("old", "new"), [("make_cell", "make_spec"), ("check_renewal", "check_replaced_parameters")])
def test_an_earlier_check_is_found_with_a_warning(old, new):
    testing = importlib.import_module("clbench.testing")
    with pytest.warns(FutureWarning, match=f"clbench.testing.{old} is now called {new}"):
        found = getattr(testing, old)
    assert found is getattr(testing, new)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        testing.nothing  # noqa: B018


def test_earlier_names_on_a_mixin_are_mapped():
    class Mix:
        replays = True

        def between_epochs(self, learner, task, rate, decayed):
            return 0.5

    with pytest.warns(FutureWarning) as caught:
        cls = type("Old", (Mix, Method), {})
    assert cls.traits == {Trait.REPLAYS}
    assert cls().overrides("on_epoch_end")
    assert cls().on_epoch_end(None, None, 1.0, False) == 0.5
    assert len(caught) == 2
    child = type("Child", (cls,), {"traits": frozenset()})
    assert child.traits == frozenset()


def test_a_name_of_today_wins_over_an_earlier_one_beside_it():
    body = {"between_epochs": lambda *args: 1.0, "on_epoch_end": lambda *args: 2.0}
    with pytest.warns(FutureWarning, match="on_epoch_end"):
        assert type("Both", (Method,), body)().on_epoch_end(None, None, 1.0, False) == 2.0


def test_a_warning_points_at_the_class():
    with pytest.warns(FutureWarning) as caught:

        class Old(Method):
            def between_epochs(self, learner, task, rate, decayed):
                return 1.0

    assert caught[0].filename == __file__
    assert caught[0].lineno == Old.between_epochs.__code__.co_firstlineno - 1
