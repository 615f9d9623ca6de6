"""Which methods cannot act as one, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clbench.contract import declarations, old_names
from clbench.contract.traits import REPLACES_PARAMETERS, Trait
from clbench.errors import RefusedError
from clbench.method import Method

EXCLUSIVE = ("criterion", "fit", "predict", "reparametrize")
"""Hooks that only one part may define."""


class Rule(NamedTuple):
    """Two groups of traits that exclude each other in two parts of a composition.

    Args:
        one: the first part has any of these traits.
        other: the second part has any of these.
        reason: names the parts as `{one}` and `{other}`.
        remedy: what to do instead.
    """

    one: frozenset[Trait]
    other: frozenset[Trait]
    reason: str
    remedy: str


RULES = (
    Rule(  # measured: ER + GPM ends below ER alone
        frozenset({Trait.REPLAYS}),
        frozenset({Trait.PROJECTS_STEP}),
        "{one} replays samples and {other} projects the step: the replayed gradient would be projected away",
        "compose one of them with a penalty, or run them alone",
    ),
    Rule(
        frozenset({Trait.RESETS}),
        frozenset({Trait.PROJECTS_STEP, Trait.STORES_IN_WEIGHTS, Trait.NEEDS_FIRST_TASK}),
        "{one} returns the model to its initial weights at every task, and {other} keeps in the model what earlier tasks "
        "learned: the reset would erase that",
        "run them alone; cumulative may continue from the last weights instead (reset=false), and freeze may act from the "
        "start (from_task=0)",
    ),
    Rule(
        frozenset({Trait.LEARNS_JOINTLY}),
        frozenset({Trait.NEEDS_FIRST_TASK}),
        "{one} learns all tasks at once, and {other} needs a model already trained on task 0: there is none",
        "run them alone; adapters may use the network as it is (base=frozen), freeze and osft may act from the start "
        "(from_task=0)",
    ),
    Rule(
        frozenset({Trait.ANCHORS_TRAINED}),
        frozenset({Trait.REPLACES_PARAMETERS_LATER}),
        "{one} anchors parameters by their names, and {other} trains parameters with other names at later tasks: nothing would "
        "anchor what earlier tasks learned",
        "run them alone, or use one adapter that all tasks train (seq_lora with base=frozen, as in ewc_lora)",
    ),
    Rule(
        frozenset({Trait.ANCHORS_TRAINED}),
        frozenset({Trait.REPARAMETRIZES}),
        "{one} anchors parameters by their names, and {other} computes weights from parameters that change with the task: the "
        "anchored values are not what was learned",
        "run them alone, or use a projection that does not reparametrize, such as gpm",
    ),
    Rule(
        frozenset({Trait.ANCHORS_LAYERS}),
        REPLACES_PARAMETERS,
        "{one} projects the steps of the model's own layers, and {other} trains other parameters instead of them: their steps "
        "would not be projected",
        "run them alone; olora and osft protect earlier tasks by themselves",
    ),
    Rule(
        REPLACES_PARAMETERS,
        REPLACES_PARAMETERS,
        "the parts {one} and {other} both replace the layers' weights by parameters of their own",
        "compose only one of them",
    ),
)
"""Which traits exclude which. The first rule that two parts break gives the refusal."""


def traits_of(method: Method) -> frozenset[Trait]:
    """Return the traits that a method declares, and those that follow from its hooks and its access.

    Raises:
        TypeError: the method declares something else than traits, or sets an earlier flag on itself.
    """
    old_names.refuse_flags(method)
    declarations.check_traits(type(method).__qualname__, method.traits, forbidden=frozenset())
    derived = {
        Trait.PROJECTS_STEP: method.overrides("edit_update") and Trait.READ_ONLY_UPDATE not in method.traits,
        Trait.REPARAMETRIZES: method.overrides("reparametrize"),
        Trait.LEARNS_JOINTLY: method.access == "all",
    }
    return method.traits | {trait for trait, present in derived.items() if present}


def check(parts: Mapping[str, Method]) -> None:
    """Refuse parts that cannot work together, by their traits.

    Args:
        parts: name -> method.

    Raises:
        RefusedError: with the names, the reason and the remedy.
    """
    for hook in EXCLUSIVE:
        owners = [name for name, part in parts.items() if part.overrides(hook)]
        if len(owners) > 1:
            raise RefusedError(f"the parts {' and '.join(owners)} both define their own {hook}", "compose only one of them")
    traits = {name: traits_of(part) for name, part in parts.items()}
    for rule in RULES:
        for one in parts:
            for other in parts:
                if one != other and traits[one] & rule.one and traits[other] & rule.other:
                    raise RefusedError(rule.reason.format(one=one, other=other), rule.remedy)
