"""The list of mutations fits the source."""

import pytest

from tools.mutation_table import MUTATIONS
from tools.mutations import ROOT, mutated

BY_NAME = [pytest.param(mutation, id=mutation.name) for mutation in MUTATIONS]


@pytest.mark.parametrize("mutation", BY_NAME)
def test_every_mutation_fits_the_source(mutation):
    source = (ROOT / mutation.file).read_text()
    text = mutated(ROOT, mutation)
    assert text != source
    assert len(text) - len(source) == len(mutation.new) - len(mutation.old)
    compile(text, mutation.file, "exec")


@pytest.mark.parametrize("mutation", BY_NAME)
def test_the_tests_it_names_are_there(mutation):
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def test_names_are_unique():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
