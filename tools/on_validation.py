"""Accuracy on validation splits: it selected the numbers in conf/protocol and conf/tuned. The test split is never used.

    python tools/on_validation.py method=ewc scenario=split_digits scenario.setting=task method.strength=100 'seeds=[10,11,12]'
    python tools/on_validation.py method=naive scenario=permuted_digits 'seeds=[10,11,12,13,14]' --noise 1e-6

Takes overrides as `clbench` does; `scenario.valid_fraction` is 0.2 unless given. Prints the mean over seeds, in percent, of
accuracy and learning accuracy over the tasks' validation splits, and with several seeds the half width of accuracy's 95 %
interval. With `--noise`, every seed is trained once more with noise in its products (`clbench.testing.product_noise`). Then the
largest change of a seed's accuracy is printed, too. Nothing is stored.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.engine.evaluation.accuracy import evaluate
from clbench.errors import ClbenchError, ConfigError
from clbench.metrics.statistics import half_width
from clbench.run_spec import RunSpec
from clbench.runs.run import assemble
from clbench.stream import EvaluationSet
from clbench.testing.product_noise import product_noise


class Measured(NamedTuple):
    """Accuracies of one seed on validation splits, in percent; `learning` is None if all tasks are learned at once."""

    accuracy: float
    learning: float | None


def measure_run(spec: RunSpec) -> Measured:
    """Train one run and return its accuracies.

    Raises:
        ClbenchError: the stream has no validation split, or training diverged.
    """
    stream, method, learner, training = assemble(spec, torch.device("cpu"))
    if any(task.valid is None for task in stream.tasks):
        raise ConfigError("scenario.valid_fraction=0 gives no validation split", "give scenario.valid_fraction=0.2")
    columns = tuple(
        EvaluationSet(task.name, task.valid, metric=stream.evaluation[task.index].metric)
        for task in stream.tasks
        if task.valid is not None
    )
    learned = []
    for task in stream.tasks if method.access != "all" else stream.tasks[-1:]:
        training.learn(task)
        row = [100 * hits / n for hits, n in evaluate(learner, method, columns, spec.config["eval"]["batch_size"])]
        learned.append(row[task.index])
    joint = len(learned) == 1 and len(columns) > 1
    return Measured(sum(row) / len(row), None if joint else sum(learned) / len(learned))


def specs(overrides: list[str]) -> list[RunSpec]:
    """Return the runs of the overrides, one per seed.

    Raises:
        ConfigError: the configuration is invalid.
    """
    composer = new_composer()
    return make_job(composer(["scenario.valid_fraction=0.2", *overrides]), composer).specs()


def measure(overrides: list[str]) -> tuple[float, float | None]:
    """Return (accuracy, learning accuracy) in percent. Learning accuracy is None for a method that learns all tasks at once.

    Raises:
        ClbenchError: the configuration is invalid, has no validation split, or training diverged.
    """
    return _mean([measure_run(spec) for spec in specs(overrides)])


def _mean(found: list[Measured]) -> tuple[float, float | None]:
    learning = [one.learning for one in found if one.learning is not None]
    return sum(one.accuracy for one in found) / len(found), sum(learning) / len(learning) if learning else None


def main() -> None:
    """Measure the configuration of the command line, in one thread."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, relative to each number of a product")
    parser.add_argument("overrides", nargs="*", help="as for clbench")
    given = parser.parse_intermixed_args()
    try:
        runs = specs(given.overrides)
        found = [measure_run(spec) for spec in runs]
        changes = []
        for spec, without in zip(runs, found, strict=True):
            if given.noise:
                with product_noise(given.noise, spec.seed):
                    changes.append(abs(measure_run(spec).accuracy - without.accuracy))
    except ClbenchError as error:
        sys.exit(str(error))
    accuracy, learning = _mean(found)
    width = half_width([one.accuracy for one in found])
    print(
        f"accuracy {accuracy:.1f}{'' if width is None else f' ± {width:.1f}'}"
        f"  learning accuracy {'–' if learning is None else f'{learning:.1f}'}  (validation)"
        + (f"  largest change {max(changes):.2f}" if changes else "")
    )


if __name__ == "__main__":
    main()
