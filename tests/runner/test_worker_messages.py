"""Messages survive the way from a worker to the runner."""

from __future__ import annotations

import json

import pytest

from clbench.runner.outcome import Status
from clbench.runner.worker_messages import End, Message, decode, encode


@pytest.mark.parametrize(
    "message",
    [
        {"event": "begin"},
        {"event": "task", "task": 1, "acc": None},
        {"event": "print", "text": "two\nlines"},
        End(Status.DONE, peak_memory=5),
        End(Status.FAILED, "no memory", "buy some", out_of_memory=True),
        *(End(status) for status in Status),
    ],
)
def test_a_message_comes_back(message: Message) -> None:
    line = encode("abc", message)
    assert line.index("\n") == len(line) - 1
    run, again = decode(line)
    assert run == "abc"
    assert again == message
    assert type(again) is type(message)
    assert not isinstance(again, End) or isinstance(again.status, Status)


def test_a_line_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(json.JSONDecodeError):
        decode(encode("abc", End(Status.DONE))[:-4])
