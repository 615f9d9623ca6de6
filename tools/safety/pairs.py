"""Every method on every embedded stream at its defaults: each pair trains, or is refused with a reason and a remedy.

    python -m tools.safety.pairs           # two tasks, few steps, each method on each scenario: exceptions, weights not finite
    python -m tools.safety.pairs --all     # the same of every pair in every setting
    python -m tools.safety.pairs --long    # the whole protocols, an hour or more: also what diverges or learns nothing
    python -m tools.safety.pairs --long --streams rotated_digits:class --methods mas,ewc --seed 3

Embedded data is part of the package or of its dependencies. The pairs come from `conf/`: every scenario that `method=naive` can
train without a data folder, in each of its settings; federated streams with every server and partition; each method beside one
adapter (`seq_lora`) in a composition. Prints counts, and one line per violation. The exit status is 1 with a violation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch

from clbench.config.hydra_compose import Composer, conf_dir, new_composer
from clbench.config.job import make_job
from clbench.errors import ClbenchError, ConfigError, DataError, DivergedError
from clbench.run_spec import RunSpec
from clbench.runs.run import prepare
from tools.safety.report import Report

SETTINGS = ("class", "task", "domain")
MODELS = {
    "biography": ("model=biography", "optimizer=adamw"),
    "biography_tiny": ("model=biography_tiny", "optimizer=adamw", "optimizer.lr=2e-4"),
    "unlearn_biography": ("model=people_tiny", "optimizer=adamw", "optimizer.lr=1e-3"),
}
"""Model and optimiser of streams of words, as docs/biography.md and docs/unlearning.md give them."""
TOO_LARGE = {"biography": "100,000 people: a GPU and days (docs/biography.md)"}
SHARE = 0.25
"""A method that learns less than this share of what naive learns, above chance and after task 0, learns nothing. Ours."""
FEW = ("trainer.iterations=3", "trainer.batch_size=16")
SMALL = {
    "biography_tiny": (
        "scenario.dataset.people=[12,6]",
        "scenario.recovery_iterations=2",
        "model.architecture.hidden_size=16",
        "model.architecture.num_hidden_layers=2",
        "model.architecture.num_attention_heads=2",
        "model.architecture.intermediate_size=32",
        "model.pretraining.epochs=null",
        "model.pretraining.steps=2",
    ),
    "unlearn_biography": (
        "model.architecture.n_embd=16",
        "model.architecture.n_layer=1",
        "model.architecture.n_head=2",
        "scenario.relearn_steps=1",
    ),
    "federated": ("federated.rounds=2", "federated.clients=3", "federated.local_iterations=1"),
    "ranpac": ("method.projection=64",),
    "rogo": ("trainer.epochs=2", "trainer.iterations=null"),
    "o3": ("method.epochs=1", "method.detector.training.epochs=1"),
    "o3_authors": ("method.epochs=1", "method.detector.training.epochs=1"),
}
"""Further overrides of the short form, by scenario, by method, and for federated streams."""


class Pair(NamedTuple):
    """A method on a stream.

    Args:
        kind: of the stream, for the counts.
        stream: its name: scenario, colon, setting; for federated streams also partition and server.
        method: its name.
        words: overrides that give the pair.
    """

    kind: str
    stream: str
    method: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """What a run of a pair gave.

    Args:
        learned: share of right answers on each task just after it was learned; empty for tasks learned all at once.
        chance: the share that guessing among a task's classes gives.
    """

    learned: tuple[float, ...]
    chance: float

    @property
    def later(self) -> float | None:
        """The mean share above chance on all tasks but the first; None if the tasks are not learned one after another."""
        later = self.learned[1:]
        return sum(later) / len(later) - self.chance if later else None


@cache
def composer() -> Composer:
    """Return the composer of all configurations."""
    return new_composer()


def methods() -> list[str]:
    """Return the names of all methods, except the one that needs parts."""
    return sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml") if path.stem != "compose")


@cache
def streams(settings: tuple[str, ...] = SETTINGS) -> dict[str, tuple[str, ...]]:
    """Return the embedded streams: `scenario:setting` -> overrides."""
    found = {}
    for path in sorted((conf_dir() / "scenario").glob("*.yaml")):
        name = path.stem
        if name in TOO_LARGE:
            continue
        base = (f"scenario={name}", *MODELS.get(name, ()))
        for setting in settings:
            words = (*base, f"scenario.setting={setting}")
            if embedded(name, words):
                found[f"{name}:{setting}"] = words
    return found


def embedded(scenario: str, words: Sequence[str]) -> bool:
    """Return whether `method=naive` trains the stream without any folder of data."""
    with tempfile.TemporaryDirectory() as empty:
        try:
            prepare(spec((*words, "method=naive", *few(scenario), f"data.root={empty}"), empty), lambda message: None)
        except (ConfigError, DataError):
            return False
        except ClbenchError:  # a setting that the stream refuses
            return False
    return True


def few(*names: str) -> tuple[str, ...]:
    """Return the overrides of the short form for scenarios, methods or `federated`."""
    return (*FEW, *(word for name in names for word in SMALL.get(name, ())))


def pairs() -> Iterator[Pair]:
    """Yield every pair."""
    for name, words in streams().items():
        for method in methods():
            yield Pair(name.partition(":")[0], name, method, (*words, f"method={method}"))
    base = ("scenario=split_digits", "scenario.setting=task")
    folder = conf_dir() / "federated"
    servers = sorted(path.stem for path in (folder / "server").glob("*.yaml"))
    for partition in sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "base"):
        for server in servers:
            words = (*base, f"+federated={partition}", f"federated/server={server}")
            yield Pair("federated", f"split_digits:task {partition} {server}", "naive", (*words, "method=naive"))
    for method in methods():
        yield Pair("federated", "split_digits:task iid fedavg", method, (*base, "+federated=iid", f"method={method}"))
        parts = ("method=compose", f"+method@method.parts.{method}={method}", "+method@method.parts.adapter=seq_lora")
        yield Pair("composed", "split_digits:task", f"{method} + seq_lora", (*base, *parts))


def spec(words: Sequence[str], folder: str, seed: int = 0) -> RunSpec:
    """Return the run of overrides.

    Raises:
        ClbenchError: the configuration is invalid.
    """
    composed = composer()([*words, "device=cpu", "logger=none", f"seeds=[{seed}]"])
    (made,) = make_job(composed, composer(), named=False).specs()
    return replace(made, results_dir=folder)


def train(words: Sequence[str], seed: int = 0) -> Trained:
    """Train one run.

    Raises:
        ClbenchError: the pair is refused, or it diverged.
        ArithmeticError: the weights are not finite at the end, although every loss was.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(spec(words, folder, seed), lambda message: None)
        result = run.run().result
    if not all(bool(torch.isfinite(weight).all()) for weight in run.learner.model.parameters()):
        raise ArithmeticError("weights are not finite at the end")
    learned = []
    for event, row in zip(result["events"], result["matrix"], strict=True):
        if event["kind"] == "task" and result["sequential"] and event["task"] < result["n_tasks"]:
            right, n = row[event["task"]]
            learned.append(right / n)
    classes = max(len(task.classes) for task in run.stream.learned)
    return Trained(tuple(learned), run.stream.chance or 1 / max(1, classes))


def has_protocol(pair: Pair) -> bool:
    """Return whether the scenario has a protocol. A base for the user's own data has none: its rates are not chosen."""
    return (conf_dir() / "protocol" / f"{pair.stream.partition(':')[0]}.yaml").exists()


class Attempt(NamedTuple):
    """What became of a pair: `end` is `trained` or `refused`; `fault` is a line about what is wrong, or None."""

    end: str
    fault: str | None = None
    trained: Trained | None = None


def attempt(pair: Pair, words: Sequence[str], seed: int = 0) -> Attempt:
    """Train one run of a pair with `words`, and judge it by itself."""
    name = f"{pair.method} on {pair.stream}"
    try:
        found = train(words, seed)
    except DivergedError as error:
        return Attempt("trained", f"{name}: {error.what}")
    except ClbenchError as error:
        return Attempt("refused", None if error.remedy else f"{name}: refused without a remedy: {error.what}")
    except Exception as error:
        return Attempt("trained", f"{name}: {type(error).__name__}: {error}")
    return Attempt("trained", None, found)


def brief(pair: Pair) -> tuple[str, ...]:
    """Return the overrides of a pair in the short form: two tasks, few steps."""
    scenario = pair.stream.partition(":")[0]
    tasks = () if scenario.startswith("unlearn") else ("scenario.n_tasks=2",)
    method = pair.method.partition(" ")[0]
    if pair.kind == "federated":
        return (*tasks, *FEW[1:], *SMALL["federated"], *(word for word in SMALL.get(method, ()) if word.startswith("method")))
    if pair.kind == "composed":
        return (*tasks, *FEW, *(word.replace("method.", f"method.parts.{method}.") for word in SMALL.get(method, ())))
    return (*tasks, *few(scenario, method))


def learns_nothing(pair: Pair, found: Trained | None, naive: Trained | None) -> str | None:
    """Return a line if a method learns later tasks hardly better than guessing, where naive learns them; else None."""
    if found is None or naive is None or found.later is None or naive.later is None or found.later >= SHARE * naive.later:
        return None
    return (
        f"{pair.method} on {pair.stream}: learning accuracy after task 0 is {100 * (found.later + found.chance):.1f}, guessing "
        f"gives {100 * found.chance:.1f}, naive {100 * (naive.later + naive.chance):.1f}"
    )


def measure(chosen: Sequence[Pair], seed: int = 0, long: bool = False, told: Callable[[str], object] = print) -> Report:
    """Train pairs and report what went wrong.

    Args:
        chosen: the pairs.
        seed: of the runs.
        long: whether to train the whole protocols, and to compare what is learned with naive.
        told: takes a line on progress for each pair.
    """
    report, naive = Report(), dict[str, Trained | None]()
    for pair in sorted(chosen, key=lambda pair: pair.method != "naive"):
        words = pair.words if long else (*pair.words, *brief(pair))
        end, fault, found = attempt(pair, words, seed)
        if pair.method == "naive":
            naive[pair.stream] = found
            if end == "refused" and pair.kind != "federated":  # a server may need adapters
                fault = f"naive on {pair.stream}: refused, although it accepts every stream"
        if long and fault is None and pair.kind != "composed" and has_protocol(pair):
            fault = learns_nothing(pair, found, naive.get(pair.stream))
        report.counts[f"{pair.kind}, {end}"] += 1
        report.violations += [fault] if fault else []
        told(f"{pair.stream} {pair.method}: {fault or end}")
    return report


def quick() -> list[Pair]:
    """Return the pairs of the short form: each method once on each scenario, in turn in another of its settings."""
    by_scenario: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs():
        by_scenario.setdefault((pair.kind, pair.method), []).append(pair)
    return [found[at % len(found)] for at, found in enumerate(by_scenario.values())]


def main() -> None:
    """Try the pairs, print the report, and leave with its status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="every pair by its whole protocol")
    parser.add_argument("--all", action="store_true", help="few steps, but of every pair in every setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streams", help="only these, for example rotated_digits:class,federated")
    parser.add_argument("--methods", help="only these, and naive")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = list(pairs()) if given.long or given.all or given.streams else quick()
    if given.streams:
        chosen = [pair for pair in chosen if {pair.kind, pair.stream} & set(given.streams.split(","))]
    if given.methods:
        chosen = [pair for pair in chosen if pair.method in ("naive", *given.methods.split(","))]
    report = measure(chosen, given.seed, given.long, lambda line: print(line, file=sys.stderr, flush=True))
    print(report.text())
    sys.exit(report.status)


if __name__ == "__main__":
    main()
