"""Cost of a sweep of 300 tiny jobs without training, relative to the time in which Hydra alone composes these jobs.

    python benchmarks/sweep_overhead.py --repeats 5

Ten methods on three streams of digits, ten learning rates, one epoch each. Two programs take turns, each in a separate process:

- clbench: the whole command, from start to exit: composing, starting workers, importing torch, data, checkpoints, records,
  leaderboard. The training itself is subtracted from the wall time: the seconds of training and evaluation in all records,
  divided by the number of parallel workers. So a worker that waits for work counts as cost.
- Hydra: `load_sweep_config` of its config loader, once per list of overrides, as every launcher does. Its start does not count.
  (Its basic sweeper composes every job a second time to validate it; this does not count either.)

Then the same command runs again, with every record stored. Exit status 1 if the cost is more than 1.2 times Hydra's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from common import spread, table, timed

from clbench.records import load_all
from clbench.runner.devices import cores

GOAL = 1.2
METHODS = ("naive", "joint", "ewc", "si", "mas", "lwf", "er", "agem", "der", "gpm")
STREAMS = ("split_digits", "permuted_digits", "rotated_digits")
HYDRA = """
import json, sys, time
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
version.setbase("1.3")
setup_globals()
loader = ConfigLoaderImpl(create_config_search_path(sys.argv[1]))
master = loader.load_configuration("config", sys.argv[2:], RunMode.MULTIRUN)
(jobs,) = BasicSweeper.split_arguments(OverridesParser.create(config_loader=loader).parse_overrides(sys.argv[2:]), None)
start = time.perf_counter()
for overrides in jobs:
    loader.load_sweep_config(master, overrides)
print(json.dumps({"jobs": len(jobs), "seconds": time.perf_counter() - start}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rates", type=int, default=10, help="learning rates; 30 jobs each")
    parser.add_argument("--workers", type=int, default=cores())
    args = parser.parse_args()
    from clbench.config.hydra_compose import conf_dir

    rates = ",".join(f"{0.01 * (n + 1):.2f}" for n in range(args.rates))
    words = [f"method={','.join(METHODS)}", f"scenario={','.join(STREAMS)}", f"optimizer.lr={rates}", "trainer.epochs=1"]
    more = ["device=cpu", f"runner.workers={args.workers}"]
    ours = [sys.executable, "-c", "from clbench.cli.main import main; main()", "--multirun", *words, *more]
    hydra: list[float] = []
    whole: list[float] = []
    cost: list[float] = []
    again: list[float] = []
    jobs = 0
    for repeat in range(args.repeats):
        with tempfile.TemporaryDirectory() as name:
            found = json.loads(
                timed([sys.executable, "-c", HYDRA, str(conf_dir()), *words, *more], Path(name))[1].splitlines()[-1]
            )
            jobs = found["jobs"]
            hydra.append(found["seconds"])
            seconds, _ = timed(ours, Path(name))
            records, _ = load_all(Path(name, "runs"))
            if len(records) != jobs:
                raise RuntimeError(f"{len(records)} records of {jobs} jobs")
            whole.append(seconds)
            cost.append(seconds - sum(record.cost["seconds"] for record in records) / args.workers)
            again.append(timed(ours, Path(name))[0])
        print(f"round {repeat + 1}/{args.repeats}: Hydra {hydra[-1]:.1f} s, cost {cost[-1]:.1f} s", file=sys.stderr)

    def over(values: list[float]) -> str:
        return spread([value / base for value, base in zip(values, hydra, strict=True)])

    rows = [
        [f"Hydra composes {jobs} jobs", spread(hydra), "1"],
        [f"clbench runs them, {args.workers} workers: everything", spread(whole), over(whole)],
        ["without the training itself", spread(cost), over(cost)],
        ["the same command again: nothing to train", spread(again), over(again)],
    ]
    print(table(["", "seconds", "over Hydra's composition"], rows))
    ratio = statistics.median(value / base for value, base in zip(cost, hydra, strict=True))
    if ratio > GOAL:
        sys.exit(f"beyond its goal: {ratio:.2f} > {GOAL}")


if __name__ == "__main__":
    main()
