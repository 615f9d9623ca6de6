"""The names that a configuration knows, and the one that a user probably meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.execution import OTHER_KEYS as EXECUTION_KEYS
from clbench.utils.nearest import nearest

ALIASES = {
    "method": ("algorithm", "algo", "strategy", "agent", "approach", "learner", "methods"),
    "scenario": ("stream", "benchmark", "experience", "scenarios", "tasks"),
    "scenario/dataset": ("dataset", "datasets", "data_set"),
    "scenario.n_tasks": ("ntasks", "num_tasks", "n_experiences"),
    "model": ("net", "network", "arch", "architecture", "backbone", "models"),
    "optimizer": ("optim", "optimiser", "opt"),
    "optimizer.lr": ("learning_rate", "learningrate"),
    "trainer.epochs": ("epoch", "n_epochs", "nepochs", "num_epochs"),
    "trainer.batch_size": ("batchsize", "batch", "bs", "train_batch_size"),
    "trainer/schedule": ("scheduler", "lr_scheduler", "lr_schedule", "sched"),
    "method.buffer_size": ("memory_size", "mem_size", "buffer", "memory"),
    "seeds": ("seed", "n_seeds", "random_seed"),
    "results_dir": ("out", "output", "output_dir", "outdir", "save_dir", "log_dir", "logdir", "results", "result_dir", "dir"),
    "data.root": ("data_dir", "data_path", "datadir", "root", "data_root"),
    "data.download": ("download_data",),
    "runner.workers": ("num_workers", "n_workers", "jobs", "n_jobs", "j", "processes"),
    "runner.dry": ("dry_run", "dryrun"),
    "rerun": ("overwrite", "force"),
    "+federated": ("federation", "fl"),
    "+experiment": ("exp", "experiments"),
    "+sweep": ("sweeps",),
}
"""Keys and groups, with the names that other programs have for them."""

PREFERRED = ("trainer", "optimizer", "method", "scenario", "model", "runner")
"""Nodes whose key is meant if several have one of that name."""


@dataclass(frozen=True)
class Known:
    """What the configuration has.

    Args:
        keys: returns all keys and groups under given overrides; none if these cannot be composed.
        is_group: tells whether a name is a group.
        choices: returns the choices of a group.
        usual: returns {group: choice} of the configuration without overrides.
        config: returns that configuration.
        groups: returns the groups within a group; of an empty name, those at the top.
    """

    keys: Callable[[Sequence[str]], Sequence[str]]
    is_group: Callable[[str], bool]
    choices: Callable[[str], Sequence[str]]
    usual: Callable[[], Mapping[str, Any]]
    config: Callable[[], Mapping[str, Any]]
    groups: Callable[[str], Sequence[str]]

    def chooser(self, group: str) -> str:
        """Return a group as the command line chooses it: with `+` if nothing is chosen there by default."""
        return group if group in self.usual() or group.startswith("hydra/") else f"+{group}"

    def below(self, group: str) -> list[str]:
        """Return the choices of a group and of the folders in it (`gpm/pmnist`)."""
        inner = [f"{each}/{choice}" for each in self.groups(group) for choice in self.below(f"{group}/{each}")]
        return [*self.choices(group), *inner]

    def choice(self, group: str, name: str) -> str:
        """Return the choice of a group that is most similar to `name`; empty if there is none."""
        return nearest(name.removesuffix(".yaml").removesuffix(".yml"), self.choices(group))

    def group_of(self, choice: str) -> str:
        """Return a group that has `choice`; empty if there is none."""
        candidates = [*(group for group in self.usual() if not group.startswith("hydra/")), *self.groups("")]
        return next((group for group in candidates if choice in self.choices(group)), "")

    def near(self, name: str, overrides: Sequence[str]) -> str:
        """Return the key or group that `name` probably means, as the command line gives it; empty if there is none."""
        plain = name.replace("-", "_").lstrip("+~")
        last = plain.rpartition(".")[2].rpartition("/")[2]
        if last in EXECUTION_KEYS:
            return EXECUTION_KEYS[last]
        known = [*self.keys(overrides), *(f"+{group}" for group in self.groups("") if group not in self.usual())]
        dotted = plain.replace("/", ".")
        if dotted in known:
            return dotted
        node, _, inner = dotted.partition(".")
        nodes = dict.fromkeys(key.partition(".")[0] for key in known if "." in key)
        if last not in ("name", "version", "_target_"):
            same = [key for key in known if key.lstrip("+").rpartition(".")[2].rpartition("/")[2] == last]
            if same:
                wanted = [node, *PREFERRED]
                return min(same, key=lambda key: next((i for i, each in enumerate(wanted) if key.startswith(each)), len(wanted)))
            for key, others in ALIASES.items():
                if last.casefold() in others and (not inner or node not in nodes or key.startswith(node)):
                    return key if key in known or not self.is_group(key.lstrip("+")) else self.chooser(key.lstrip("+"))
        if not inner:
            return nearest(plain, [key for key in known if "." not in key]) or self._by_ending(plain, known)
        if node in nodes:
            own = [key for key in known if key.startswith(f"{node}.")]
            deep = [key for key in own if key.count(".") > 1 and dotted.count(".") > 1]
            return nearest(dotted, deep, max(1, len(last) // 3)) or self._by_ending(last, own)
        right = nearest(node, nodes)
        return self.near(f"{right}.{inner}", overrides) if right else ""

    @staticmethod
    def _by_ending(name: str, known: Sequence[str]) -> str:
        """Return the known key whose last part is most similar to that of `name`."""
        endings = {key.rpartition(".")[2]: key for key in reversed(known)}
        return endings.get(nearest(name.rpartition(".")[2], endings), "")
