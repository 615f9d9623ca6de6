"""A hostile reply is left out, whatever is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clbench.federated.messages import Reply
from clbench.federated.reply_checks import Checks, Expected, one_line

WANTED = {"w": torch.zeros(2, 3), "n": torch.zeros(1, dtype=torch.float64)}
RIGHT = Reply(1, {"w": torch.ones(2, 3), "n": torch.ones(1, dtype=torch.float64)}, 10, 20, 0.5)
NAN = float("nan")


def fault(reply):
    found = Checks(Expected({1: 10, 2: 7}, WANTED, {}, (0, 2)))(reply)[1]
    return None if found is None else found.text


def test_a_right_reply_has_no_fault():
    assert fault(RIGHT) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"client": 3},
        {"client": True},
        {"client": "1"},
        {"client": 2},  # another client's samples
        {"samples": NAN},
        {"samples": 10**15},
        {"samples": -1},
        {"samples": 10.0},
        {"seen": 10**15},
        {"seen": -1},
        {"seen": NAN},
        {"loss": NAN},
        {"loss": 1e300},
        {"loss": "low"},
        {"answer": {"more": torch.ones(1)}},
        {"tensors": {}},
        {"tensors": "garbage"},
        {"tensors": {"w": b"garbage", "n": WANTED["n"]}},
        {"tensors": {**WANTED, "w": torch.zeros(3, 2)}},
        {"tensors": {**WANTED, "w": torch.zeros(2, 3).double()}},
        {"tensors": {**WANTED, "w": torch.full((2, 3), NAN)}},
        {"tensors": {**WANTED, "n": torch.full((1,), 1e300, dtype=torch.float64)}},
        {"tensors": {**WANTED, "more": torch.zeros(1)}},
        {"error": "\x1b[31mbroken\nline"},
    ],
)
def test_a_wrong_reply_has_a_fault_in_one_printable_line(changes):
    found = fault(replace(RIGHT, **changes))
    assert found
    assert found.isprintable()
    assert len(found) <= 200


def test_what_is_no_reply_and_a_second_reply_are_faults():
    check = Checks(Expected({1: 10}, WANTED, {}, (0, 2)))
    assert check("no reply")[1] is not None
    assert check(RIGHT)[1] is None
    assert check(RIGHT)[1].text == "it is a second reply to one message"


def test_a_text_from_outside_is_one_line():
    assert one_line("a\n\x1b[2Jb") == "a ?[2Jb"
