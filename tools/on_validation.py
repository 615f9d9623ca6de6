"""Accuracy on validation splits: it selected the numbers in conf/protocol and conf/tuned. The test split is never used.

    python tools/on_validation.py method=ewc scenario=split_digits scenario.setting=task method.strength=100 'seeds=[10,11,12]'

Takes overrides as `clbench` does; `scenario.valid_fraction` is 0.2 unless given. Prints the mean over seeds, in percent, of
accuracy and learning accuracy over the tasks' validation splits. Nothing is stored.
"""

from __future__ import annotations

import sys

import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.engine.evaluation.accuracy import evaluate
from clbench.errors import ClbenchError, ConfigError
from clbench.runs.run import assemble
from clbench.stream import EvaluationSet


def measure(overrides: list[str]) -> tuple[float, float | None]:
    """Return (accuracy, learning accuracy) in percent. Learning accuracy is None for a method that learns all tasks at once.

    Raises:
        ClbenchError: the configuration is invalid, has no validation split, or training diverged.
    """
    composer = new_composer()
    job = make_job(composer(["scenario.valid_fraction=0.2", *overrides]), composer)
    final, learned = [], []
    for spec in job.specs():
        stream, method, learner, training = assemble(spec, torch.device("cpu"))
        if any(task.valid is None for task in stream.tasks):
            raise ConfigError("scenario.valid_fraction=0 gives no validation split", "give scenario.valid_fraction=0.2")
        columns = tuple(EvaluationSet(task.name, task.valid) for task in stream.tasks if task.valid is not None)
        for task in stream.tasks if method.access != "all" else stream.tasks[-1:]:
            training.learn(task)
            row = [100 * hits / n for hits, n in evaluate(learner, method, columns, spec.config["eval"]["batch_size"])]
            learned.append(row[task.index])
        final.append(sum(row) / len(row))
    joint = len(learned) == len(final) and len(columns) > 1
    return sum(final) / len(final), None if joint else sum(learned) / len(learned)


def main() -> None:
    """Measure the configuration of the command line, in one thread."""
    torch.set_num_threads(1)
    try:
        accuracy, learning = measure(sys.argv[1:])
    except ClbenchError as error:
        sys.exit(str(error))
    print(f"accuracy {accuracy:.1f}  learning accuracy {'–' if learning is None else f'{learning:.1f}'}  (validation)")


if __name__ == "__main__":
    main()
