"""Signals end a process with the status of shells, whatever it does at the moment."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from clbench.utils import interrupts
from clbench.utils.interrupts import Interrupted, is_command, message

START = """
import hashlib, os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from clbench.utils import interrupts
from clbench.utils.interrupts import end_at_once, leave, raised
"""
SWALLOW = """
with raised():
    words = ["ready"]
    while True:
        try:
            print(*words, sep="\\n", end="\\n" * len(words), flush=True)
            words = []
            time.sleep(600)
        except BaseException as error:
            print(type(error).__name__, flush=True)
"""


def start(body: str) -> subprocess.Popen[str]:
    """Start a process with that code, and wait until it says that it is ready."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", START + body], text=True, **pipes)  # type: ignore[call-overload]
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process  # type: ignore[no-any-return]


def ended(process: subprocess.Popen[str], *numbers: int) -> tuple[int, str, str]:
    """Send signals, and return status, output and errors. The output ends when no process holds it open any more."""
    for number in numbers:
        process.send_signal(number)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


SIGNALS = [(signal.SIGINT, 130, "Stopped."), (signal.SIGTERM, 143, "by SIGTERM."), (signal.SIGHUP, 129, "by SIGHUP.")]


@pytest.mark.parametrize(("number", "status", "text"), SIGNALS)
def test_with_nothing_to_lose_a_signal_ends_the_process_at_once(number: int, status: int, text: str) -> None:
    process = start("end_at_once()\ntry:\n    print('ready', flush=True); time.sleep(600)\nfinally:\n    print('unwound')")
    found, out, err = ended(process, number)
    assert (found, out) == (status, "")
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "status", "text"), SIGNALS)
def test_in_the_middle_of_work_a_signal_unwinds(number: int, status: int, text: str) -> None:
    body = """
try:
    with raised():
        try:
            print("ready", flush=True); time.sleep(600)
        finally:
            print("unwound")
except KeyboardInterrupt as stop:
    leave(stop)
"""
    found, out, err = ended(start(body), number)
    assert (found, out) == (status, "unwound\n")
    assert text in err
    assert "Traceback" not in err


def test_code_that_catches_everything_ends_after_a_while() -> None:
    status, out, err = ended(start("interrupts.PATIENCE = 0.2\n" + SWALLOW), signal.SIGTERM)
    assert status == 143
    assert "Interrupted" in out
    assert "Stopped by SIGTERM." in err


def test_a_call_of_a_library_ends_after_a_while() -> None:
    call = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # takes many minutes
    status, _, err = ended(start("interrupts.PATIENCE = 0.2\n" + SWALLOW.replace("time.sleep(600)", call)), signal.SIGINT)
    assert status == 130
    assert "Stopped." in err


def test_a_second_signal_ends_at_once() -> None:
    process = start("interrupts.TWICE = 0.0\n" + SWALLOW)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert any("Interrupted" in line for line in process.stdout)
    assert ended(process, signal.SIGTERM)[0] == 143


def test_the_same_request_twice_is_one() -> None:
    body = """
interrupts.TWICE = 600.0
try:
    with raised():
        try:
            print("ready", flush=True); time.sleep(600)
        finally:
            print("unwinding", flush=True); sys.stdin.read()
except KeyboardInterrupt as stop:
    leave(stop)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", START + body], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "unwinding\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 143
    assert err.count("Stopped") == 1


def test_the_end_at_once_takes_all_descendants_along() -> None:
    """The child holds the output open: it would not end before the child."""
    body = "child = subprocess.Popen(['sh', '-c', 'sleep 1000 & wait'], start_new_session=True)\n"
    status, _, _ = ended(start(body + "end_at_once()\nprint('ready', flush=True)\ntime.sleep(600)"), signal.SIGTERM)
    assert status == 143


def test_a_command_that_was_stopped_leaves_no_descendants() -> None:
    body = """
try:
    with raised():
        try:
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
            print("ready", flush=True); time.sleep(600)
        finally:
            print("unwound")
except KeyboardInterrupt as stop:
    leave(stop)
"""
    assert ended(start(body), signal.SIGTERM)[:2] == (143, "unwound\n")


def test_a_forked_process_has_the_default_handlers() -> None:
    body = """
end_at_once()
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr)
print("ready", flush=True)
time.sleep(600)
"""
    status, _, err = ended(start(body), signal.SIGINT)
    assert status == 130
    assert err.startswith("-15\n")
    assert "SIGTERM" not in err


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    body = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nend_at_once()\nprint('ready', flush=True)\ntime.sleep(600)"
    assert ended(start(body), signal.SIGHUP, signal.SIGTERM)[0] == 143


def test_the_block_leaves_no_handler_behind() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with pytest.raises(Interrupted) as stopped, interrupts.raised():
        raise KeyError(is_command(), signal.raise_signal(signal.SIGTERM))
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
    assert not is_command()
    assert message(stopped.value, trains=False) == "Stopped by SIGTERM."


@pytest.mark.parametrize("error", [ValueError("half a state"), SystemExit(1), None])
def test_code_that_turns_the_interrupt_into_something_else_is_interrupted_all_the_same(error: BaseException | None) -> None:
    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted:
            if error is not None:
                raise error from None

    with pytest.raises(Interrupted) as stopped, interrupts.raised():
        body()
    assert stopped.value.number == signal.SIGTERM
