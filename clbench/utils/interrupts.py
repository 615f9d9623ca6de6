"""Ctrl-C, SIGTERM and SIGHUP: a command stops with a message, the exit status of shells, and without processes left behind.

Each command is in one of two states:

1. It has nothing to lose: while it imports libraries, and after its last line. A signal then ends the process at once.
2. It works. The first signal raises `Interrupted`, which passes through all `finally` blocks. A second signal ends the process
   at once. So does the time `PATIENCE` after the first, because the interpreter may be in a call that never returns.
   An immediate end is safe: records and checkpoints are complete or absent.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType
from typing import Any, NoReturn

from clbench.utils.processes import kill_descendants

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE = 20.0
"""Seconds from a signal until the process ends in any case. Workers get `clbench.runner.worker_pool.GRACE` of it."""
TWICE = 0.5
"""Seconds within which a repeated signal is the same request: `timeout` sends one to the process and one to its group."""
STOPPED = "Stopped."
STORED = "Finished runs are stored; the same command goes on from here."
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to stop.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def leave(stop: KeyboardInterrupt, trains: bool = True) -> NoReturn:
    """Print the last line of a command that was stopped, and leave with the exit status of shells.

    The status is 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. The terminal may be closed.

    Args:
        stop: the interrupt.
        trains: whether the command trains runs.
    """
    _command.left = isinstance(stop, Interrupted)
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"\n{message(stop, trains)}\n")):
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(128 + int(getattr(stop, "number", signal.SIGINT)))


def message(stop: KeyboardInterrupt, trains: bool = True) -> str:
    """Return the last line of a command that was stopped.

    Args:
        stop: the interrupt.
        trains: whether the command trains runs.
    """
    number = int(getattr(stop, "number", signal.SIGINT))
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return " ".join([f"{STOPPED[:-1]}{by}.", *([STORED] if trains else [])])


class _Command:
    """What the signal handlers know about this process."""

    def __init__(self) -> None:
        self.trains = True
        self.first: tuple[float, int] | None = None
        """Time and number of the first signal."""
        self.over = threading.Event()
        self.writer: int | None = None
        """Writing end of the pipe to the watching thread."""
        self.left = False
        """Whether the process is about to end after a signal."""
        self.forks = False
        """Whether forked processes are taken care of."""

    def forget(self) -> None:
        """Count signals from the beginning, and let the watching thread end."""
        self.over.set()
        if self.writer is not None:
            os.close(self.writer)
        self.over, self.first, self.writer = threading.Event(), None, None


_command = _Command()


@atexit.register  # early, and therefore called after the functions that libraries register
def _end_descendants() -> None:
    """End what libraries have started and not ended after a signal, as the controller of a launcher's jobs."""
    if _command.left:
        kill_descendants(os.getpid())


def _leave(number: int, _: FrameType | None = None) -> NoReturn:
    """End the process at once, with its message and without descendants."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, SHOW_CURSOR)
        os.write(2, f"\n{message(Interrupted(number), _command.trains)}\n".encode())
    kill_descendants(os.getpid())
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    if _command.first is None:
        _command.first = monotonic(), number
        raise Interrupted(number)
    if monotonic() - _command.first[0] > TWICE:
        _leave(number)


def check() -> None:
    """Raise `Interrupted` again if there was a signal: libraries turn the first one into errors of their own."""
    if _command.first is not None:
        raise Interrupted(_command.first[1]) from None


def _watch(reader: int, over: threading.Event) -> None:
    """End the process if the main thread does not: it may be in a call that never returns, where no handler runs.

    Python writes the number of a signal into the pipe as soon as the signal arrives.
    """
    first: float | None = None
    while found := os.read(reader, 1):
        number, now = found[0], monotonic()
        if number not in SIGNALS or over.is_set():
            continue
        if first is None:
            first = now
            threading.Thread(target=_patient, args=(number, over), daemon=True).start()
        elif now - first > TWICE:
            _leave(number)
    os.close(reader)


def _patient(number: int, over: threading.Event) -> None:
    if not over.wait(PATIENCE):
        _leave(number)


def _handle(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Set the handler of all signals that are not ignored (as by `nohup`), and return the handlers before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, old in before.items():
        if old != signal.SIG_IGN:
            signal.signal(number, handler)
    return before


def _open_pipe() -> None:
    if _command.writer is None:
        reader, _command.writer = os.pipe()
        os.set_blocking(_command.writer, False)
        threading.Thread(target=_watch, args=(reader, _command.over), daemon=True).start()
    if not _command.forks:
        _command.forks = True
        os.register_at_fork(after_in_child=_in_child)
    signal.set_wakeup_fd(_command.writer, warn_on_full_buffer=False)


def _in_child() -> None:
    """Let a forked process (a data loader) end by signals silently, as processes do by default."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) in (_raise, _leave):
                signal.signal(number, signal.SIG_DFL)


def end_at_once(trains: bool = True) -> None:
    """From now on, a signal ends this process at once; for a process that is a command and has nothing to lose yet.

    Args:
        trains: whether the command trains runs.
    """
    _command.trains = trains
    _handle(_leave)
    _open_pipe()


@contextmanager
def raised(trains: bool = True) -> Iterator[None]:
    """Within the block, the first signal raises `Interrupted`; afterwards the handlers are those from before.

    The block raises `Interrupted` then, even if the code in it has caught or replaced the first one. Outside the main thread
    nothing changes.

    Args:
        trains: whether the command trains runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _command.trains = trains
    before, wakeup = _handle(_raise), signal.set_wakeup_fd(-1)
    _open_pipe()
    try:
        try:
            yield
        finally:
            check()
    finally:
        for number, old in before.items():
            signal.signal(number, old if old is not None else signal.SIG_DFL)
        if _leave not in before.values():  # else the process is a command, and what is left of it must end in time as well
            signal.set_wakeup_fd(wakeup)
            _command.forget()


def ignore_in_job() -> None:
    """Let this process of a launcher ignore Ctrl-C, which the terminal sends to the command and to its jobs alike.

    The command ends its jobs.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def is_command() -> bool:
    """Return whether this process is a command, not a program or a notebook that uses the package."""
    return signal.getsignal(signal.SIGTERM) in (_raise, _leave)


def end_command(text: str, status: int) -> NoReturn:
    """End this process at once, with a last line; for a command that cannot go on."""
    sys.stdout.flush()
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())
    kill_descendants(os.getpid())
    os._exit(status)
