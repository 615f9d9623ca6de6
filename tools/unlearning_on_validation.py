"""Tuning of methods that unlearn: accuracies after the last request, on validation splits. The test split is never used.

    python tools/unlearning_on_validation.py scenario=unlearn_digits method=ga method.lr=0.001,0.003 'seeds=[10,11]'

Takes overrides as `clbench -m` does: values separated by commas are tried in all combinations. `scenario.valid_fraction` is 0.2
unless given. Prints a line per combination, best first: the score, and in percent forgotten (classes named by a request),
retained and utility, as means over seeds. The score is the mean of retained and utility, minus the part of forgotten above
chance. A run that diverges scores -100.
"""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace

import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.data.pool import Split
from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.evaluation.claims import chance_level
from clbench.errors import ClbenchError, ConfigError, DivergedError
from clbench.runs.run import assemble
from clbench.scenarios.unlearn import only
from clbench.stream import EvaluationSet, Stream

DIVERGED = (-100.0, float("nan"), float("nan"), float("nan"))


def columns_of(stream: Stream) -> tuple[EvaluationSet, ...]:
    """Return the stream's sets with the roles forget_test, retain and utility, from validation samples of the same classes."""
    parts = [task.valid for task in stream.learned if task.valid is not None]
    if len(parts) < len(stream.learned):
        raise ConfigError("scenario.valid_fraction=0 gives no validation split", "give scenario.valid_fraction=0.2")
    rows, labels = torch.cat([part.rows for part in parts]), torch.cat([part.labels for part in parts])
    valid = Split(parts[0].pool, rows, labels, 0)
    wanted = [c for c in stream.evaluation if c.role in ("forget_test", "retain", "utility") and c.metric != "format"]
    return tuple(replace(c, split=only(valid, sorted(set(c.split.pool.targets[c.split.rows].tolist())))) for c in wanted)


def measure(overrides: list[str]) -> tuple[float, float, float, float]:
    """Return (score, forgotten, retained, utility) in percent, means over seeds."""
    composer = new_composer()
    job = make_job(composer(["scenario.valid_fraction=0.2", "scenario.relearn_steps=0", *overrides]), composer)
    found = []
    for spec in job.specs():
        stream, method, learner, training = assemble(spec, torch.device("cpu"))
        columns = columns_of(stream)
        try:
            for task in stream.tasks:
                training.learn(task)
        except DivergedError:
            return DIVERGED
        hits = evaluate(learner, method, columns, spec.config["eval"]["batch_size"])
        of = {
            role: 100
            * sum(hit for (hit, _), c in zip(hits, columns) if c.role == role)
            / max(1, sum(len(c.split) for c in columns if c.role == role))
            for role in ("forget_test", "retain", "utility")
        }
        chance = 100 * (chance_level(stream) or 0.0)
        score = (of["retain"] + of["utility"]) / 2 - max(0.0, of["forget_test"] - chance)
        found.append((score, of["forget_test"], of["retain"], of["utility"]))
    means = [sum(column) / len(column) for column in zip(*found)]
    return means[0], means[1], means[2], means[3]


def main() -> None:
    """Measure every combination of the command line, in one thread."""
    torch.set_num_threads(1)
    choices = [[word] if re.search(r"[\[{]", word) else [f"{key}{value}" for key, value in _each(word)] for word in sys.argv[1:]]
    try:
        found = [(measure(list(words)), words) for words in itertools.product(*choices)]
    except ClbenchError as error:
        sys.exit(str(error))
    varied = [position for position, values in enumerate(choices) if len(values) > 1]
    for (score, forgotten, retained, utility), words in sorted(found, reverse=True):
        combination = " ".join(words[position] for position in varied)
        print(
            f"score {score:6.1f}  forgotten {forgotten:5.1f}  retained {retained:5.1f}  utility {utility:5.1f}  {combination}",
            flush=True,
        )


def _each(word: str) -> list[tuple[str, str]]:
    key, equals, values = word.partition("=")
    return [(key + equals, value) for value in values.split(",")]


if __name__ == "__main__":
    main()
