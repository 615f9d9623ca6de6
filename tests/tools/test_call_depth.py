"""The frames between the command and the first training step."""

import subprocess
import sys


def test_the_frames_lead_from_the_command_to_the_training_loop() -> None:
    done = subprocess.run([sys.executable, "tools/call_depth.py"], capture_output=True, text=True, check=False)
    *frames, count = done.stdout.splitlines()[-40:]
    frames = [line for line in frames if line.startswith("clbench/")]
    assert frames[0].startswith("clbench/cli/main.py:")
    assert frames[-1].startswith("clbench/engine/training/")
    assert count.startswith(f"{len(frames)} calls in ")
