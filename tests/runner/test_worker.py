"""The worker process by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from clbench.runner.outcome import Status
from clbench.runner.worker_messages import End, decode
from tests.runner.run_functions import make_spec


def start(function: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    command = [sys.executable, "-P", "-m", "clbench.runner.worker", "--function", f"tests.runner.run_functions.{function}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_it_leaves_when_its_runner_is_gone(tmp_path: Path) -> None:
    """The death of a killed runner closes the pipe; the worker must not train on alone."""
    with start("forever") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(make_spec(tmp_path).to_dict()) + "\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())["event"] == "start"
        worker.stdin.close()
        assert worker.wait(60) == 0


def test_prints_of_the_run_stay_out_of_the_messages(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, seed=5)
    with start("by_seed") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(spec.to_dict()) + "\n")
        worker.stdin.flush()
        events = []
        while not events or events[-1] != "end":
            run, message = decode(worker.stdout.readline())
            assert run == spec.id
            events.append("end" if isinstance(message, End) else message["event"])
        worker.stdin.close()
    assert events == ["start", "epoch", "task", "epoch", "task", "end"]
    assert isinstance(message, End)
    assert message.status is Status.DONE
    assert message.peak_memory is not None


def test_a_run_survives_the_journey(tmp_path: Path) -> None:
    from clbench.run_spec import RunSpec

    spec = make_spec(tmp_path, seed=4, strength=0.1, sizes=[1, 2], nothing=None)
    again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert (again.id, again.config_id, again.seed) == (spec.id, spec.config_id, 4)
