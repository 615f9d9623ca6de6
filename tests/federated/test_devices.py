"""Every server rule on a device that is not the CPU: tensors of both never meet, and the weights are the CPU's bit for bit."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = sorted(path.stem for path in (ROOT / "conf" / "federated" / "server").glob("*.yaml"))
ADAPTERS = ["fedsvd"] if importlib.util.find_spec("peft") else []
CASES = [f"{rule}:{chunk}" for rule in RULES if rule != "fedsvd" for chunk in (1, 4)]
CASES += [f"{rule}:1" for rule in ADAPTERS] + ["fot:1:secure"]


@pytest.fixture(scope="module")
def found():
    """Run all cases in one process of its own: a device is registered for good."""
    command = [sys.executable, "-m", "tests.federated.simulated", *CASES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_it_trains_there_as_on_the_cpu(found, case):
    assert found[case] == "equal"
