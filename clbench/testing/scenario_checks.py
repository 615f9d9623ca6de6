"""Checks of the suite's promises about a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from clbench.errors import DataError
from clbench.stream import Stream
from clbench.testing.hidden_data_checks import equal, files_of
from clbench.testing.make_run import make_spec
from clbench.testing.noise import with_noise
from clbench.testing.reach import reachable
from clbench.testing.sought_data import SoughtData

STEPS = 2
"""Steps of each task in the check that learning does not depend on test samples."""


def check_scenario(scenario: str, overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> None:
    """Check all promises of the suite about a scenario. The first broken one is raised as an AssertionError.

    The checks cover:
        everything that a run checks before training (`clbench.scenarios.stream_checks`): labels within the outputs, samples,
            indices, shapes, types, values, names and requests; training, validation and test samples are disjoint;
        the same seed gives the same stream;
        nothing that a method gets leads to test samples, and some steps of each task give the same weights if noise takes their
            place.

    Args:
        scenario: name of a configuration in the group `scenario`.
        overrides: as on the command line.
        config_dirs: as in `make_spec`.
    """
    from clbench.engine.training.loop import Training
    from clbench.runs.factory import assemble, load_stream

    spec, device = make_spec("naive", [f"scenario={scenario}", *overrides], config_dirs), torch.device("cpu")

    def stream() -> Stream:
        try:
            return load_stream(spec, device)
        except DataError as error:
            raise AssertionError(str(error)) from error

    one, again = stream(), stream()
    assert one.fingerprint == again.fingerprint, "the same seed gives another stream"
    weights: list[dict[str, torch.Tensor]] = []
    for made in (one, with_noise(again)):
        _, method, learner, training = assemble(spec, device, stream=made)
        if not weights:
            sought = SoughtData(made, files_of(spec.config["scenario"]))
            found = next(sought.among(reachable({"learner": learner, "method": method, "training": training})), None)
            assert found is None, f"test data can be reached while learning: {found}"
        if isinstance(training, Training):
            training = Training(learner, method, replace(training.trainer, iterations=STEPS))
            for task in made.learned:
                if task.iterations is None:
                    training.learn(task)
        weights.append(learner.model.state_dict())
    assert equal(*weights), "the learned weights depend on test samples: they differ if noise takes their place"
