"""Real processes on loopback, by the commands of docs/flower.md: a SuperLink and two SuperNodes, encrypted with keys or not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
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

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "flower.md"
WORDS = "scenario=split_digits scenario.setting=task +federated=iid federated.clients=2 federated.rounds=1 scenario.n_tasks=2"
PAUSE = threading.Event()
LIMIT = 300.0  # seconds for everything


def command(begin, **places):
    """Return the words of the page's first command that begins so, with other texts at the places that a reader fills in."""
    (line, *_) = re.findall(rf"^ +({re.escape(begin)}.*)$", PAGE.read_text(), re.MULTILINE)
    for place, text in places.items():
        line = line.replace({"link": "SERVER:9391", "port": "9391", "runs": "/path/to/runs"}.get(place, place), text)
    return shlex.split(line.replace("SERVER", "127.0.0.1"))


def settings(link, folder, lines):
    """Write Flower's settings as the page shows them, with these further lines."""
    text = f'[superlink.lab]\naddress = "SERVER:9391"\n{lines}\n'
    found = re.sub(r"^ +", "", PAGE.read_text(), flags=re.MULTILINE)
    assert text in found or "insecure" in lines
    (folder / "config.toml").write_text(text.replace("SERVER:9391", link).replace("/path/to", str(folder.parent)))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Machines:
    """Flower's processes, in one folder."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, words):
        log = open(self.folder / f"{len(self.started)}.log", "w")  # noqa: SIM115
        self.started.append(
            subprocess.Popen(
                words,
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return self.started[-1]

    def do(self, words, folder=None):
        done = subprocess.run(
            words, env=self.environment, cwd=folder or self.folder, check=False, timeout=60, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def logs(self):
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def wait_for(self, happened):
        until = time.monotonic() + LIMIT
        while not happened():
            assert time.monotonic() < until, self.logs()
            assert all(process.poll() is None for process in self.started), self.logs()
            PAUSE.wait(0.3)

    def stop(self):
        for process in reversed(self.started):
            if process.poll() is None:
                os.killpg(process.pid, 15)
        for process in self.started:
            process.wait(20)


@pytest.fixture
def machines(tmp_path):
    made = Machines(tmp_path)
    yield made
    made.stop()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def record_of_a_run(machines):
    """Start a run by the page's command, and return its record."""
    runs = machines.folder / "runs"
    words = f"{WORDS} trainer.epochs=1 federated/server=fot logger=none device=cpu results_dir={runs}"
    asked = command("flwr run", runs=str(runs))
    asked[-1] = f'words="{words}"'
    machines.do(asked, ROOT)
    machines.wait_for(lambda: list(runs.glob("*.json")))
    (found,) = load(runs)
    return found


def is_the_local_one(found, folder):
    options = ("federated/server=fot", "federated.clients=2", "federated.rounds=1", "scenario.n_tasks=2")
    local = run(federated_spec(*options, folder=folder / "local"))
    assert found.id == local.id
    assert found.result["matrix"] == local.result["matrix"]
    assert found.cost["bytes_sent"] == local.cost["bytes_sent"]


@pytest.mark.slow
def test_superlink_and_supernodes(machines, tmp_path):
    port, *nodes = free_ports(3)
    settings(f"127.0.0.1:{port}", machines.home, "insecure = true")
    machines.start(command("flower-superlink --insecure", port=str(port)))
    machines.wait_for(lambda: listens(port))
    for node in nodes:
        machines.start([*command("flower-supernode --insecure", port=str(port)), "--port", str(node)])
    is_the_local_one(record_of_a_run(machines), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("ssh-keygen")), reason="the page's commands need both programs")
def test_encryption_and_keys(machines, tmp_path):
    """The run is the same; a node whose key is not registered, and one without a key, take no part."""
    port, *nodes = free_ports(5)
    machines.do(command("openssl req"))
    settings(f"127.0.0.1:{port}", machines.home, 'root-certificates = "/path/to/server.pem"')
    link = machines.start(command("flower-superlink --host", port=str(port)))
    machines.wait_for(lambda: listens(port))
    keys = ["node", "node2", "stranger"]
    for key in keys:
        words = command("ssh-keygen")
        machines.do([*words[:-1], key])
    for key in keys[:2]:
        machines.do([key + ".pub" if word == "node.pub" else word for word in command("flwr supernode register")])
    start = [*command("flower-supernode --superlink", port=str(port)), "--port"]
    assert start[-3:-1] == ["--auth-supernode-private-key", "node"]
    strangers = [
        [*start[:-2], "stranger", "--port", str(nodes[2]), "--max-retries", "1"],
        [*start[:-3], "--port", str(nodes[3]), "--max-retries", "1"],
    ]
    for words in strangers:
        process = machines.start(words)
        assert process.wait(60) != 0, machines.logs()
        machines.started.remove(process)
    for key, node in zip(keys[:2], nodes, strict=False):
        machines.start([*start[:-2], key, "--port", str(node)])
    assert link.poll() is None
    is_the_local_one(record_of_a_run(machines), tmp_path)
