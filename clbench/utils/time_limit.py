"""A time limit for a call, by an alarm of the system."""

from __future__ import annotations

import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from clbench.errors import ClbenchError

Result = TypeVar("Result")
AGAIN = 2.0
"""Seconds between two alarms after the limit: code that catches every exception may have swallowed the first."""


class TooLongError(ClbenchError):
    """A run took longer than `runner.time_limit`."""


class Alarm(BaseException):
    """Interrupts a call within `call_within`. `except Exception` does not catch an alarm."""


def too_long(limit: float) -> TooLongError:
    """Return the error of a run that took longer than `limit` seconds."""
    return TooLongError(
        f"took longer than runner.time_limit={limit:g} seconds",
        "give a higher runner.time_limit, or null; the same command then resumes from the last checkpoint",
    )


def call_within(limit: float | None, body: Callable[[], Result], runs: int = 1) -> Result:
    """Return the result of `body`, which is stopped after `limit` seconds for each of its `runs`; None: never.

    Python interrupts its main thread only, between two calls.

    Raises:
        TooLongError: `body` took longer.
    """
    if limit is None:
        return body()
    if threading.current_thread() is not threading.main_thread():
        warnings.warn("runner.time_limit is not enforced outside the main thread; give runner.workers=1 or more", stacklevel=2)
        return body()
    error = too_long(limit)

    def guarded() -> Result:
        return body()

    def stop(_: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not guarded.__code__:
            frame = frame.f_back
        if frame is not None:  # else the alarm came before or after the body
            raise Alarm(str(error))

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, limit * runs, AGAIN)
        return guarded()
    except Alarm as alarm:
        traceback.clear_frames(alarm.__traceback__)  # which reference the memory of the body
        raise error from alarm
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
