"""The same run by real processes on loopback: a SuperLink and two SuperNodes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from clbench import load
from clbench.testing.make_run import run
from tests.federated.common import federated_spec

APP = Path(__file__).parents[2] / "docs" / "flower_app"
WORDS = "scenario=split_digits scenario.setting=task +federated=iid federated.clients=2 federated.rounds=1 scenario.n_tasks=2"
PAUSE = threading.Event()
LIMIT = 240.0  # seconds for everything


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def program(name):
    return str(Path(sys.executable).parent / name)


@pytest.mark.slow
def test_superlink_and_supernodes(tmp_path):
    link, *nodes = free_ports(3)
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "loop"\n\n[superlink.loop]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    environment = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    started = []

    def start(name, *arguments):
        log = open(tmp_path / f"{name}{len(started)}.log", "w")  # noqa: SIM115
        started.append(
            subprocess.Popen([program(name), *arguments], env=environment, stdout=log, stderr=log, start_new_session=True)
        )

    try:
        start("flower-superlink", "--insecure", "--port", str(link), "--disable-runtime-dependency-installation")
        wait_for(link)
        for port in nodes:
            start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port))
        words = f"{WORDS} trainer.epochs=1 federated/server=fot logger=none device=cpu results_dir={tmp_path / 'runs'}"
        asked = [program("flwr"), "run", str(APP), "loop", "--run-config", f"words='{words}'"]
        subprocess.run(asked, env=environment, check=True, timeout=60, capture_output=True)
        until = time.monotonic() + LIMIT
        while not list((tmp_path / "runs").glob("*.json")):
            assert time.monotonic() < until, "\n".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
            PAUSE.wait(0.5)
        (found,) = load(tmp_path / "runs")
    finally:
        for process in reversed(started):
            os.killpg(process.pid, 15)
        for process in started:
            process.wait(20)
    options = ("federated/server=fot", "federated.clients=2", "federated.rounds=1", "scenario.n_tasks=2")
    local = run(federated_spec(*options, folder=tmp_path / "local"))
    assert found.id == local.id
    assert found.result["matrix"] == local.result["matrix"]
    assert found.cost["bytes_sent"] == local.cost["bytes_sent"]


def wait_for(port):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        PAUSE.wait(0.2)
    raise AssertionError("the SuperLink does not listen")
