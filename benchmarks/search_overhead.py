"""What a search costs beside its runs: its time over that of the same runs, given to the runner at once.

    python benchmarks/search_overhead.py                            # 30 trials x 3 seeds of er on split_mnist: about 6 minutes
    python benchmarks/search_overhead.py scenario=split_digits      # other overrides of clbench-tune

Both happen one after the other in one process, with the same workers. The search also proposes, prunes, writes its journal, and
waits for trials that it depends on. Pruned runs are in neither.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import monotonic

from rich.console import Console

from clbench.config.hydra_compose import new_composer
from clbench.records import load_all
from clbench.runner.execute import RUN_FUNCTION
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from clbench.tuning.choice import Choice
from clbench.tuning.command import search_all
from clbench.tuning.options import load_tuning
from clbench.tuning.plan import make_plan

WORDS = ["method=er", "scenario=split_mnist"]


def main() -> None:
    """Measure, and print both times and their ratio."""
    composer = new_composer()
    tuning = load_tuning(composer, "first_k", {"trials": 30, "seeds": 3})
    with tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(tuning, [*WORDS, *sys.argv[1:], f"results_dir={scratch}/search"], composer)
        begun = monotonic()
        (found,) = search_all([plan], Console(), progress=False)
        searched = monotonic() - begun
        choice = found.choice
        assert isinstance(choice, Choice), found.error
        done = {record.id for record in load_all(plan.folder)[0]}
        values = [plan.space.decode(trial.params) for trial in choice.trials]
        specs = {spec.id: spec for each in values for spec in plan.specs(each) if spec.id in done}
        shutil.rmtree(plan.folder)
        other = str(Path(scratch, "plain"))
        begun = monotonic()
        how = plan.base.execution
        run_specs([replace(spec, results_dir=other) for spec in specs.values()], Display(), how.workers, RUN_FUNCTION)
        plain = monotonic() - begun
    print(f"{len(choice.trials)} trials, {len(specs)} runs, in {searched:.1f} s; the runs alone {plain:.1f} s")
    print(f"ratio {searched / plain:.2f}")
    print(f"the runs' own time, on all workers together: {choice.seconds:.1f} s")


if __name__ == "__main__":
    main()
