"""How many calls lie between the command `clbench` and the first training step.

    python tools/call_depth.py                 # prints the frames; exit status 1 if there are 12 or more
    python tools/call_depth.py method=er       # with overrides

One tiny run is executed in this process (`runner.workers=0`). At the first step, in plain, stacked or federated training, the
Python frames of the package are printed, outermost first. Frames of other packages do not count (Hydra's own), nor does the
step itself. The goal is for the plain case; a composition adds its own `fit`, clients and stacks add their loops.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import FrameType

import clbench

PACKAGE = Path(clbench.__file__).resolve().parent
STEPS = {("loop.py", "step"), ("stacked_loop.py", "step"), ("stacked_clients.py", "step")}
"""Files and names of the functions that take a step."""
TINY = ("scenario.n_tasks=2", "trainer.epochs=1", "device=cpu", "logger=none", "runner.workers=0", "method=naive")
GOAL = 12
"""The number of calls must stay below."""


class FirstStep(BaseException):
    """Carries the frames out of the run: `file:line function`, outermost first."""

    def __init__(self, frames: list[str]) -> None:
        super().__init__()
        self.frames = frames


def frames(overrides: list[str]) -> list[str]:
    """Return the package's frames between the command and the first training step, outermost first."""
    from clbench.cli.main import main

    found: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and (os.path.basename(code.co_filename), code.co_name) in STEPS:
            caller = frame.f_back
            while caller is not None:
                path = Path(caller.f_code.co_filename)
                if PACKAGE in path.parents:
                    found.insert(0, f"{path.relative_to(PACKAGE.parent)}:{caller.f_lineno} {caller.f_code.co_qualname}")
                caller = caller.f_back
            sys.setprofile(None)
            raise FirstStep(found)

    before, arguments = os.getcwd(), sys.argv
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.argv = ["clbench", f"results_dir={folder}/runs", *TINY, *overrides]
        sys.setprofile(watch)
        try:
            main()
        except FirstStep as step:
            return step.frames
        finally:
            sys.setprofile(None)
            sys.argv = arguments
            os.chdir(before)
    raise RuntimeError(f"no step of clbench/engine/training was called with {' '.join(overrides)}")


def main() -> None:
    """Print the frames and their number."""
    found = frames(sys.argv[1:])
    print("\n".join(found))
    print(f"{len(found)} calls in {len({line.partition(':')[0] for line in found})} files (goal: fewer than {GOAL})")
    sys.exit(len(found) >= GOAL)


if __name__ == "__main__":
    main()
