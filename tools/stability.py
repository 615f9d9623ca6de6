"""Whether rounding decides results: the change of every seed's final accuracy under noise in every product.

    python tools/stability.py                           # seven methods, five streams of digits, ten seeds: 700 runs, some minutes
    python tools/stability.py --methods er,gpm --streams rotated_digits --seeds 3
    python tools/stability.py optimizer.lr=0.2          # with overrides, as for `clbench`

Every run is trained without and with a noise of 1e-6 (`clbench.testing.product_noise`). Prints a table: one line per method, a
column per stream, and in it the largest change of any seed, in points of accuracy. A stream is a scenario, or a scenario, a
colon and a setting. Exit status 1 if a change is above `--limit` or if a run fails. Nothing is stored.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ClbenchError, DivergedError
from clbench.metrics.matrix import summary
from clbench.run_spec import RunSpec
from clbench.testing import run
from clbench.testing.product_noise import product_noise

METHODS = "naive,ewc,er,gpm,agem,lwf,derpp"
STREAMS = "split_digits:class,split_digits:task,split_digits:domain,permuted_digits:domain,rotated_digits:domain"


class Change(NamedTuple):
    """What noise does to one run: its final accuracy without and with noise, in percent."""

    method: str
    stream: str
    seed: int
    without: float
    with_noise: float

    @property
    def points(self) -> float:
        """The change, without its sign."""
        return abs(self.with_noise - self.without)


def specs(method: str, stream: str, seeds: int, overrides: Sequence[str] = ()) -> list[RunSpec]:
    """Return the runs of a method on a stream (`scenario` or `scenario:setting`), one per seed.

    Raises:
        ConfigError: the configuration is invalid.
    """
    scenario, _, setting = stream.partition(":")
    chosen = [f"method={method}", f"scenario={scenario}", *([f"scenario.setting={setting}"] if setting else [])]
    composer = new_composer()
    fixed = ["device=cpu", "logger=none", f"seeds={seeds}"]
    return make_job(composer([*chosen, *fixed, *overrides]), composer).specs()


def final_accuracy(spec: RunSpec, noise: float) -> float:
    """Return the mean accuracy over the tasks at the end of a run, in percent; nan if training diverged.

    Args:
        spec: the run.
        noise: standard deviation of the relative noise in every product; 0: none. The run's seed chooses the noise.
    """
    try:
        with product_noise(noise, spec.seed), tempfile.TemporaryDirectory() as folder:  # a run resumes from checkpoints it finds
            found = summary(run(replace(spec, results_dir=folder)).result)["acc"]
    except DivergedError:
        return float("nan")
    return float("nan") if found is None else found


def changes(method: str, stream: str, seeds: int, noise: float = 1e-6, overrides: Sequence[str] = ()) -> list[Change]:
    """Return the change of each seed.

    Raises:
        ClbenchError: the configuration is invalid, or a run failed for another reason than divergence.
    """
    made = specs(method, stream, seeds, overrides)
    return [Change(method, stream, spec.seed, final_accuracy(spec, 0), final_accuracy(spec, noise)) for spec in made]


def _one_thread() -> None:
    torch.set_num_threads(1)


def main() -> None:
    """Measure all pairs in several processes; exit with status 1 if a change is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", default=METHODS, help="separated by commas")
    parser.add_argument("--streams", default=STREAMS, help="separated by commas")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--noise", type=float, default=1e-6, help="standard deviation, relative to each number of a product")
    parser.add_argument("--limit", type=float, default=1.0, help="points of accuracy")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="as for clbench")
    given = parser.parse_intermixed_args()
    methods, streams = given.methods.split(","), given.streams.split(",")
    pairs = [(method, stream) for stream in streams for method in methods]
    calls = [(method, stream, given.seeds, given.noise, given.overrides) for method, stream in pairs]
    context = multiprocessing.get_context("spawn")
    try:
        with context.Pool(given.processes, _one_thread) as pool:
            found = {}
            for pair, changed in zip(pairs, pool.imap(_changes, calls), strict=True):
                found[pair] = changed
                print(f"{' on '.join(pair)}: {_largest(changed):.2f}", file=sys.stderr, flush=True)
    except ClbenchError as error:
        sys.exit(str(error))
    print("| method | " + " | ".join(streams) + " |\n| --- |" + " ---: |" * len(streams))
    for method in methods:
        print(f"| {method} | " + " | ".join(f"{_largest(found[method, stream]):.2f}" for stream in streams) + " |")
    above = [change for changed in found.values() for change in changed if not change.points <= given.limit]
    for method, stream, seed, without, with_noise in above:
        print(f"{method} on {stream}, seed {seed}: {without:.2f} without noise, {with_noise:.2f} with noise")
    print(f"{len(above)} of {len(pairs) * given.seeds} runs change by more than {given.limit:g} points")
    sys.exit(bool(above))


def _changes(call: tuple[str, str, int, float, list[str]]) -> list[Change]:
    return changes(*call)


def _largest(changed: list[Change]) -> float:
    """Return the largest change; nan if a run diverged."""
    points = [change.points for change in changed]
    return float("nan") if any(map(math.isnan, points)) else max(points)


if __name__ == "__main__":
    main()
