"""A method that learns like naive training, and with seed 1 never ends: in one of many ways, for `tools.safety.limits`."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from clbench.engine.learner.learner import Learner
from clbench.method import Method
from clbench.stream import Task

AGES = 10**6
"""Seconds that no limit waits for."""


def sleep() -> None:
    """Sleep."""
    time.sleep(AGES)


def loop() -> None:
    """Compute without end."""
    while True:
        pass


def swallow() -> None:
    """Catch every exception, that of an alarm included."""
    while True:
        with suppress(BaseException):
            time.sleep(AGES)


def native() -> None:
    """Stay in a call of a library."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def locked() -> None:
    """Stay in a call that holds Python's lock: no thread of the process can do anything."""
    library, mask = ctypes.PyDLL(None), ctypes.create_string_buffer(b"\xff" * 128)
    library.sigprocmask(0, mask, None)
    library.pause()


def expression() -> None:
    """Match a regular expression that takes exponential time."""
    re.match("(a+)+$", "a" * 64 + "b")


def deadlock() -> None:
    """Wait for a lock that this thread has itself."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def join() -> None:
    """Wait for a thread that never ends."""
    thread = threading.Thread(target=time.sleep, args=(AGES,))
    thread.start()
    thread.join()


def blocked() -> None:
    """Block every signal, and sleep."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    swallow()


def stopped() -> None:
    """Be stopped, as by a debugger."""
    os.kill(os.getpid(), signal.SIGSTOP)
    sleep()


def loader() -> None:
    """Wait for a data loader that delivers nothing; it is a process of its own and has copies of all open files."""
    context = multiprocessing.get_context("fork")
    items: Any = context.Queue()
    context.Process(target=time.sleep, args=(AGES,)).start()
    items.get()


def program() -> None:
    """Wait for another program."""
    subprocess.run(["sleep", str(AGES)], check=True)


def session() -> None:
    """Wait for another program in a session of its own."""
    subprocess.run(["sleep", str(AGES)], check=True, start_new_session=True)


def closed() -> None:
    """Close all files, and sleep."""
    os.closerange(3, 4096)
    sleep()


def flood() -> None:
    """Print without end."""
    while True:
        print("x" * 200)
        time.sleep(0.001)  # a faster one would fill the disk


def orphan() -> None:
    """Die, and leave a process that has copies of all open files."""
    if os.fork() == 0:
        sleep()
    os._exit(3)


WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way
    for way in (
        sleep,
        loop,
        swallow,
        native,
        locked,
        expression,
        deadlock,
        join,
        blocked,
        stopped,
        loader,
        program,
        session,
        closed,
        flood,
        orphan,
    )
}
PLACES = ("setup", "task", "step", "predict", "end")


@dataclass
class Hanging(Method):
    """Naive training; seed 1 hangs.

    Args:
        way: how; a name in `WAYS`.
        place: where; one of `PLACES`.
    """

    way: str = "sleep"
    place: str = "task"

    def _at(self, learner: Learner, place: str) -> None:
        if place == self.place and learner.seed == 1:
            WAYS[self.way]()

    def setup(self, learner: Learner, stream: Any) -> None:
        """Begin."""
        self._at(learner, "setup")

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Begin a task; the hang comes in the second."""
        if task.index == 1:
            self._at(learner, "task")

    def after_step(self, learner: Learner) -> None:
        """Note a step."""
        self._at(learner, "step")

    def end_task(self, learner: Learner, task: Task, history: Any) -> None:
        """End a task."""
        self._at(learner, "end")

    def predict(self, learner: Learner, inputs: Any, task_id: int | None) -> Any:
        """Return the scores."""
        self._at(learner, "predict")
        return super().predict(learner, inputs, task_id)


@dataclass
class Apart(Hanging):
    """The same; its own `fit` keeps seeds from sharing their steps."""

    def fit(self, learner: Learner, task: Task, train: Any, history: Any) -> None:
        """Train."""
        train(task.train)
