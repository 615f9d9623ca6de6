"""Start-up time of clbench: its help compared with that of a bare Hydra application, and the time to the first training step.

    python benchmarks/startup.py --repeats 7

The bare application is `hydra.main` around an empty function, with the same configuration groups; the two take turns. The first
training step is that of `clbench method=naive scenario=split_digits` in one process. Its time runs from the end of torch's
import to the end of the step, with composition, data, model and the evaluation of the untrained model. The process ends there.
Exit status 1 above 1.5 times the bare help, or above 3 seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import yaml
from common import spread, table, timed

from clbench.config.hydra_compose import conf_dir

HELP_GOAL, STEP_GOAL = 1.5, 3.0
BARE = """
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    pass

main()
"""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OURS = "from clbench.cli.main import main; main()"
FIRST_STEP = """
import time
start = time.perf_counter()
import torch
imported, worked = time.perf_counter(), time.process_time()
import json, os, sys
from clbench.engine.training.loop import Training
step = Training.step

def first(self, batch):
    loss = step(self, batch)
    seconds, cpu = time.perf_counter() - imported, time.process_time() - worked
    print(json.dumps({"torch": imported - start, "step": seconds, "cpu": cpu}), flush=True)
    os._exit(0)

Training.step = first
from clbench.cli.main import main
main()
"""


def bare_application(folder: Path) -> Path:
    """Write a Hydra application with clbench's groups and none of its code; return its script."""
    shutil.copytree(conf_dir(), folder / "conf")
    primary = folder / "conf" / "config.yaml"
    content = yaml.safe_load(primary.read_text())
    defaults = [entry for entry in content["defaults"] if not (isinstance(entry, dict) and "hydra/" in next(iter(entry)))]
    primary.write_text(yaml.safe_dump({**content, "defaults": defaults, "hydra": {"output_subdir": None}}))
    script = folder / "bare.py"
    script.write_text(BARE)
    return script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    bare: list[float] = []
    ours: list[float] = []
    steps: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = bare_application(folder)
        words = ["method=naive", "scenario=split_digits", "runner.workers=0", "device=cpu"]
        for repeat in range(args.repeats + 1):
            one, _ = timed([sys.executable, str(script), "--help"], folder, **ONE_THREAD)
            two, _ = timed([sys.executable, "-c", OURS, "--help"], folder, **ONE_THREAD)
            _, said = timed([sys.executable, "-c", FIRST_STEP, *words], folder, **ONE_THREAD)
            if repeat:  # the first round fills the caches of files
                bare.append(one)
                ours.append(two)
                steps.append(json.loads(said.splitlines()[-1]))
    ratios = [b / a for a, b in zip(bare, ours, strict=True)]
    first = [step["step"] for step in steps]
    rows = [
        ["help of a bare Hydra application", spread(bare), "1"],
        ["clbench --help", spread(ours), spread(ratios)],
        ["importing torch", spread([step["torch"] for step in steps]), ""],
        ["from there to the end of the first training step", spread(first), ""],
        ["the same in CPU time, without waiting for a busy machine's cores", spread([step["cpu"] for step in steps]), ""],
    ]
    print(table(["", "seconds", "over the bare application"], rows))
    slow = [statistics.median(ratios) > HELP_GOAL and "help", statistics.median(first) > STEP_GOAL and "first step"]
    if any(slow):
        sys.exit(f"beyond its goal: {', '.join(word for word in slow if word)}")


if __name__ == "__main__":
    main()
