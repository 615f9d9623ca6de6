"""Traits: the facts about a method that decide which methods can act as one."""

from __future__ import annotations

from enum import Enum


class Trait(Enum):
    """A fact about a method that matters in a composition. `clbench.methods.compatibility` says which traits exclude which.

    The last three are never declared: they follow from a method's hooks and its access.
    """

    REPLAYS = "replays"
    """Part of a step's loss is computed on stored samples. Stored samples that only bound the step do not count."""
    RESETS = "resets"
    """`fit` returns the model to its initial weights."""
    STORES_IN_WEIGHTS = "stores_in_weights"
    """The model itself keeps what earlier tasks learned; a return to the initial weights would undo that."""
    READ_ONLY_UPDATE = "read_only_update"
    """`edit_update` reads the step and does not change it."""
    ANCHORS_TRAINED = "anchors_trained"
    """Keeps values of trained parameters by name. The names must stay the same at later tasks."""
    ANCHORS_LAYERS = "anchors_layers"
    """Keeps, by name, something of the weights that the model's layers have from the start."""
    REPLACES_PARAMETERS_ONCE = "replaces_parameters_once"
    """Replaces the layers' trainable parameters by others, with other names, before task 0. `learner.add` does not count."""
    REPLACES_PARAMETERS_LATER = "replaces_parameters_later"
    """The same, at later tasks."""
    NEEDS_FIRST_TASK = "needs_first_task"
    """Needs a model already trained on task 0."""

    PROJECTS_STEP = "projects_step"
    """Derived: `edit_update` is overridden, and the method does not declare `READ_ONLY_UPDATE`."""
    REPARAMETRIZES = "reparametrizes"
    """Derived: the forward pass uses weights that are functions of parameters (`reparametrize`)."""
    LEARNS_JOINTLY = "learns_jointly"
    """Derived: `access` is `all`; all tasks are learned at once."""


DERIVED = frozenset({Trait.PROJECTS_STEP, Trait.REPARAMETRIZES, Trait.LEARNS_JOINTLY})
"""Traits that follow from hooks and access."""
REPLACES_PARAMETERS = frozenset({Trait.REPLACES_PARAMETERS_ONCE, Trait.REPLACES_PARAMETERS_LATER})
"""Traits of methods whose own parameters train instead of those of the model's layers."""
