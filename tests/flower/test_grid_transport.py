"""Wrong answers over Flower's grid change nothing in a record but the count of rejected replies."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from clbench.federated.messages import Reply
from clbench.flower.wire_format import pack_reply
from tools.safety.grid_cases import besides, essence, instead, not_finite, record_of

ROUNDS = 2  # of two tasks, one round each


def right_one(id, node, right):
    return [(id, node, right)]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    found, rejected = essence(record_of(right_one, tmp_path_factory.mktemp("honest")))
    assert rejected == 0
    return found


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    found, rejected = essence(record_of(lambda id, node, right: [(id, node, "boom")], tmp_path_factory.mktemp("failing")))
    assert rejected == ROUNDS
    return found


@pytest.mark.parametrize(("name", "change"), besides())
def test_an_answer_beside_the_right_one_changes_nothing(honest, tmp_path, name, change):
    found, rejected = essence(record_of(change, tmp_path))
    assert rejected == ROUNDS
    assert found == honest


PLACES = range(0, 60, 12)


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_answer_is_one_of_a_client_that_failed(failing, tmp_path, place):
    canary = tmp_path / "canary"

    def change(id, node, right):
        return instead(right, canary)[place][1](id, node, right)

    found, rejected = essence(record_of(change, tmp_path))
    assert rejected == ROUNDS
    assert found == failing
    assert not canary.exists()


def test_values_that_are_not_finite_are_left_out_and_counted_as_sent(failing, honest, tmp_path):
    found, rejected = essence(record_of(not_finite, tmp_path))
    assert rejected == ROUNDS
    assert found["result"]["matrix"] == failing["result"]["matrix"]
    assert found["bytes"] == honest["bytes"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda id, node, right: [("x", 7, right), (id, node, right)], "no client asked (node 7)"),
        (lambda id, node, right: [(id, 7, right), (id, node, right)], "was asked for client 1, and another answered"),
        (lambda id, node, right: [(id, node, pack_reply(Reply(0, samples=3)))], "it answers for client 0, and was asked for 1"),
        (lambda id, node, right: [(id, node, "\x1b[2J\nboom")], "its node failed: ?[2J boom"),
    ],
)
def test_the_message_names_the_sender_and_the_reason(tmp_path, caplog, change, text):
    with caplog.at_level(logging.WARNING):
        record_of(change, tmp_path)
    lines = [record.getMessage() for record in caplog.records if text in record.getMessage()]
    assert len(lines) == ROUNDS
    assert all(line.isprintable() for line in lines)
