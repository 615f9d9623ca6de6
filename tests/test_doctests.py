"""The examples in docstrings are right."""

import doctest
import importlib

import pytest

MODULES = (
    "clbench.federated.secure.quantise",
    "clbench.federated.secure.shamir",
    "clbench.metrics.client_shares",
    "clbench.metrics.matrix",
    "clbench.metrics.statistics",
    "clbench.metrics.unlearning",
    "clbench.metrics.variants",
    "clbench.plots.style",
    "clbench.reproduction.verdict",
    "clbench.subspace.basis",
    "clbench.subspace.decomposition",
    "clbench.subspace.layer_inputs",
    "clbench.subspace.projection",
    "clbench.utils.markup",
    "tools.vocabulary",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_give_what_they_say(name):
    module = importlib.import_module(name)
    examples = {"A": [[0.9], [0.8, 0.85], [0.6, 0.8, 0.95]]} if name == "clbench.metrics.matrix" else {}
    failed, tried = doctest.testmod(module, extraglobs=examples)
    assert tried > 0
    assert failed == 0
