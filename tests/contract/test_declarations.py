"""Declarations of a method are checked when its class is defined."""

from dataclasses import dataclass

import pytest

from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.method import Method, Trait
from clbench.methods.compatibility import traits_of


def defined(**body):
    return type("Mine", (Method,), body)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"requests": "handeld"}, r"Mine\.requests = 'handeld' is not allowed: declare one of 'refused', 'ignored', 'handled'"),
        ({"requests": None}, r"Mine\.requests = None"),
        ({"access": "everything"}, r"Mine\.access = 'everything' is not allowed: declare one of 'current', 'seen'"),
        ({"settings": {"tasks"}}, r"Mine\.settings = \{'tasks'\} is not allowed: declare a set of 'task'"),
        ({"settings": "task"}, r"Mine\.settings = 'task'"),
        ({"traits": {"replays"}}, r"Mine\.traits = \{'replays'\} is not a set of traits: .*clbench.method import Trait"),
        ({"traits": Trait.REPLAYS}, r"Mine\.traits = .* is not a set of traits"),
        ({"traits": {Trait.PROJECTS_STEP, Trait.RESETS}}, r"Mine\.traits declares Trait\.PROJECTS_STEP, .* leave it out"),
        ({"trait": frozenset({Trait.REPLAYS})}, r"Mine\.trait is no declaration .* did you mean traits\?"),
        ({"stackble": True}, r"did you mean stackable\?"),
        ({"afterstep": lambda self, learner: None}, r"Mine\.afterstep is no hook .* did you mean after_step\?"),
        ({"end_tasks": lambda self, learner, task, history: None}, r"did you mean end_task\?"),
        ({"reparametrise": lambda self, learner, task_id: {}}, r"did you mean reparametrize\?"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name_with_the_remedy(body, complaint):
    with pytest.raises(TypeError, match=complaint):
        defined(**body)


def test_a_mixin_is_checked_too():
    class Mixin:
        def afterstep(self, learner):
            """Misspelled."""

    with pytest.raises(TypeError, match="after_step"):
        type("Mine", (Mixin, Method), {})


def test_right_declarations_computed_ones_and_fields_are_accepted():
    computed = property(lambda self: {Trait.REPLAYS})
    assert traits_of(defined(traits=computed)()) == {Trait.REPLAYS}
    assert defined(traits={Trait.REPLAYS}, settings=frozenset({"task"}), requests="handled", access="all")()
    assert defined(request=lambda self: 1, prediction=lambda self: 1, _trait=1)

    @dataclass
    class Named(Method):
        trait: float = 0.5
        resets: bool = True

    assert Named.traits == frozenset()
    assert Named(resets=False).resets is False


def test_computed_traits_are_checked_where_they_are_read():
    with pytest.raises(TypeError, match="not a set of traits"):
        traits_of(defined(traits=property(lambda self: {"replays"}))())


@dataclass
class Late(Method):
    """Sets a flag of an earlier contract on itself."""

    def __post_init__(self):
        self.replays = True


def test_an_earlier_flag_on_an_object_is_refused_in_a_composition():
    node = {"_target_": "clbench.methods.compose.Compose", "parts": {"a": {"_target_": f"{__name__}.Late"}}}
    with pytest.raises(ConfigError, match=r"Late\.replays was replaced by traits: .*Trait\.REPLAYS"):
        instantiate(node, "method")
