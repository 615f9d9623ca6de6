"""Counts of classes by client, and their short form in records."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.federated.partitions import Dirichlet
from clbench.metrics.client_shares import class_counts, decode, encode

TABLES = st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.integers(0, 10**7), min_size=n, max_size=n)))


def test_counts():
    labels = torch.tensor([0, 2, 2, 0, 1])
    assert class_counts(labels, [torch.tensor([0, 1, 2]), torch.tensor([3, 4])], 4) == [[1, 0, 2, 0], [1, 1, 0, 0]]


def test_counts_of_a_partition_sum_to_those_of_the_task():
    labels = torch.arange(5).repeat_interleave(torch.tensor([10, 40, 3, 80, 67]))
    parts = Dirichlet(0.3).positions(labels, 7, 2, torch.Generator().manual_seed(3))
    counts = class_counts(labels, parts, 5)
    assert [sum(column) for column in zip(*counts)] == [10, 40, 3, 80, 67]
    assert [sum(row) for row in counts] == [len(part) for part in parts]


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_labels_of_another_task(labels):
    with pytest.raises(ValueError, match="in a task of 3 classes"):
        class_counts(torch.tensor(labels), [torch.tensor([0, 1])], 3)


@given(TABLES)
def test_back_and_forth(counts):
    assert decode(json.loads(json.dumps(encode(counts)))) == counts


def test_the_form():
    assert encode([[12, 0, 3], [0, 1, 0]]) == ["12 0 3", "0 1 0"]


@pytest.mark.parametrize("text", ["", "1  2", "1,2", "-1 2", "1.5", "1 x", " 1", "²"])
def test_what_is_no_count(text):
    with pytest.raises(ValueError, match="is not numbers"):
        decode([text])


def test_ragged():
    with pytest.raises(ValueError, match="differ in their number of classes"):
        decode(["1 2", "3"])


def test_it_needs_no_torch():
    code = "import sys; from clbench.metrics.client_shares import decode; decode(['1 2']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
