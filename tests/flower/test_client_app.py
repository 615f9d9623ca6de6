"""A client's own settings and limits."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from clbench.errors import ConfigError
from clbench.execution import Execution
from clbench.flower import client_app, installation
from clbench.flower.client_app import respond
from clbench.flower.installation import VARIABLE, Installation, own
from clbench.flower.wire_format import ABOUT, TRAIN, pack

LIMIT = 0.2


@pytest.fixture
def answer(monkeypatch):
    """Give the content of the answer to a message whose work is a function; no message of Flower is made."""
    monkeypatch.setattr(client_app, "Message", lambda content, reply_to: content)

    def call(work, **settings):
        monkeypatch.setattr(client_app, "received", work)
        client = Installation(Execution(device="cpu", **settings))
        return respond(TRAIN, client, SimpleNamespace(content=pack({"client": 5}, {}, {})), None)

    return call


def test_a_message_that_takes_too_long_is_an_answer_with_an_error(answer):
    def forever(*_):
        signal.pause()

    content = answer(forever, timeout=LIMIT)
    assert content[ABOUT]["error"] == "it took longer than the client's own runner.timeout"
    assert content[ABOUT]["client"] == 5


def test_a_message_that_takes_too_much_memory_is_an_answer_with_an_error(answer, monkeypatch):
    monkeypatch.setattr("clbench.utils.memory_limit.available_memory", lambda: 200 << 20)

    def large(*_):
        return bytearray(64 << 30)  # more than a process can have, whatever memory it has freed before

    assert answer(large)[ABOUT]["error"] == "MemoryError"


@pytest.mark.parametrize(
    ("error", "text"), [(SystemExit(3), "SystemExit: 3"), (ValueError("a\n\x1b[2Jb"), "ValueError: a ?[2Jb")]
)
def test_work_that_ends_with_an_error_is_an_answer_in_one_line(answer, error, text):
    def broken(*_):
        raise error

    assert answer(broken)[ABOUT]["error"] == text


@pytest.fixture
def settings(monkeypatch):
    def read(text):
        own.cache_clear()
        monkeypatch.setenv(VARIABLE, text)
        return own()

    monkeypatch.setattr(installation.sys, "path", list(installation.sys.path))
    yield read
    own.cache_clear()


def test_settings_are_words_and_folders(settings, tmp_path):
    found = settings(f"device=cpu runner.timeout=7 +data.root='{tmp_path}' --config-dir {tmp_path}".replace("+", ""))
    assert found.execution.device == "cpu"
    assert found.execution.timeout == 7
    assert found.folders == (str(tmp_path),)
    assert str(tmp_path) in installation.sys.path
    assert settings(f"--config-dir={tmp_path}").folders == (str(tmp_path),)
    assert settings("").folders == ()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("method=er", "'method=er'"),
        ("device", "'device'"),
        ("--multirun", "'--multirun'"),
        ("+results_dir=/x", "results_dir=/x"),
        ("--config-dir /no/such/folder", "/no/such/folder is no folder"),
        ("--config-dir", "--config-dir"),
        ("runner.timeout=-1", "runner.timeout"),
        ("runner.nothing=1", "nothing"),
        ("'device=cpu", VARIABLE),
    ],
)
def test_a_wrong_setting_is_named(settings, text, field):
    with pytest.raises(ConfigError) as caught:
        settings(text)
    assert field in caught.value.what
    assert caught.value.remedy
