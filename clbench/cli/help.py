"""The text of `clbench --help`."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from clbench.config.double_files import double_files

GROUPS = {
    "method": "how tasks are learned one after the other",
    "scenario": "the stream of tasks",
    "scenario/dataset": "the data behind it (scenario=split|permuted|rotated with any; npz and folder: your own)",
    "model": "the network (custom: your own)",
    "optimizer": "the step",
    "trainer": "epochs, batches",
    "trainer/schedule": "the learning rate over time",
    "runner": "how runs are executed: processes, devices, memory",
    "logger": "where the progress of a run is shown or stored",
    "hydra/launcher": "the program that runs a sweep's jobs (default: clbench itself; pip install 'clbench[launchers]')",
    "federated": "clients that learn each task together, round by round (+federated=...)",
    "federated/server": "how the server combines the models of clients",
    "sweep": "several runs by one name (+sweep=...)",
    "experiment": "published tables (+experiment=...)",
}
"""Groups in the order of the list. Other groups with choices follow."""
NOT_CHOSEN = ("protocol", "tuned", "hydra", "search", "tuning")
"""Groups whose choice follows from other groups, and folders of clbench-tune."""

TEXT = """\
clbench trains continual-learning methods on streams of tasks, measures what was forgotten, and draws the leaderboard.
(It has nothing to do with benchmarks of language-model agents.)

usage: clbench [--multirun|-m] [group=choice ...] [key=value ...]

groups
{groups}

keys, each with its default
  seeds=1                   a count (seeds=5 means 0 to 4) or a list (seeds=[3,7] means these)
  device=auto               auto, cpu, cuda
  results_dir=runs          where records and leaderboard.md go; what is there already is not trained again
  eval.every=null           also measure within a task, every so many steps
  runner.workers=auto       processes side by side; 0: in this one
  save_models=false         keep the model after each task
  rerun=false               train again what has a record already, or has failed
  data.root=null            folders to look for data in (null: CLBENCH_DATA, then ~/.cache/clbench)
  data.download=false       fetch what is missing
  GROUP.KEY                 depends on the choice: scenario.setting (task, domain, class), scenario.n_tasks,
                            scenario.outputs, scenario.order_seed, scenario.online, trainer.epochs,
                            trainer.batch_size, optimizer.lr, ...

examples
  clbench +sweep=quick                                 7 methods, 3 streams, 5 seeds, about a minute
  clbench method=gpm scenario=split_mnist seeds=5
  clbench -m method=naive,ewc,er,gpm scenario=permuted_mnist,split_mnist seeds=5
  clbench method=er method.buffer_size=500 scenario.setting=task
  clbench --config-dir my_plugin method=mine           my_plugin/method/mine.yaml names your class

`clbench --cfg job` with any of these shows every key and its value, and runs nothing. `clbench-leaderboard
results_dir=runs` prints the table again. After an error, HYDRA_FULL_ERROR=1 shows its traceback. Flags of Hydra:
`clbench --hydra-help`."""


def text(folders: Sequence[Path | str], width: int | None = None) -> str:
    """Return the help.

    Args:
        folders: of configuration: clbench's own and those of plug-ins.
        width: columns; None: those of the terminal.
    """
    width = width or min(shutil.get_terminal_size((120, 24)).columns, 120)
    found = choices(folders)
    lines = []
    for group in [*(g for g in GROUPS if g in found), *sorted(g for g in found if g not in GROUPS)]:
        lines.append(f"  {group:<18}{GROUPS.get(group, '')}".rstrip())
        lines += textwrap.wrap(
            ", ".join(found[group]), width, initial_indent=" " * 20, subsequent_indent=" " * 20, break_on_hyphens=False
        )
    for name, (first, *others) in double_files(folders).items():
        lines += ["", f"{name}.yaml is refused where it is chosen: rename {', '.join(others)}, for there is also {first}"]
    return TEXT.format(groups="\n".join(lines))


def choices(folders: Sequence[Path | str]) -> dict[str, list[str]]:
    """Return {group: its choices} of all folders together."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in Path(folder).rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != "." and (group in GROUPS or group.split("/")[0] not in NOT_CHOSEN):
                found.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in found.items()}
