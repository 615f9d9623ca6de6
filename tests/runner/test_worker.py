"""The worker process by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.runner.trials import make_spec


def start(trial: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    command = [sys.executable, "-P", "-m", "clbench.runner.worker", "--trial", f"tests.runner.trials.{trial}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_it_leaves_when_its_runner_is_gone(tmp_path: Path) -> None:
    """A runner that is killed closes the pipe by dying; the worker must not train on alone."""
    with start("forever") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(make_spec(tmp_path).to_dict()) + "\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())["event"] == "start"
        worker.stdin.close()
        assert worker.wait(60) == 0


def test_prints_of_the_trial_stay_out_of_the_answers(tmp_path: Path) -> None:
    with start("by_seed") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(make_spec(tmp_path, seed=5).to_dict()) + "\n")
        worker.stdin.flush()
        events = []
        while not events or events[-1] != "done":
            events.append(json.loads(worker.stdout.readline())["event"])
        worker.stdin.close()
    assert events == ["start", "epoch", "task", "epoch", "task", "done"]


def test_a_cell_survives_the_journey(tmp_path: Path) -> None:
    from clbench.run_spec import RunSpec

    spec = make_spec(tmp_path, seed=4, strength=0.1, sizes=[1, 2], nothing=None)
    again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert (again.id, again.config_id, again.seed) == (spec.id, spec.config_id, 4)
