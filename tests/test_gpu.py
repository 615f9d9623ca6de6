"""On a CUDA device: the same code, and numbers that agree with the CPU's."""

import pytest
import torch

from clbench.compose import conf_dir
from clbench.metrics.matrix import summary
from clbench.testing import make_cell, run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml") if path.stem != "compose")


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_on_the_gpu_agrees_with_the_cpu(tmp_path, method):
    accuracy = {}
    for device in ("cpu", "cuda"):
        cell = make_cell(method, [f"device={device}", "trainer.epochs=5"], results_dir=tmp_path / device)
        accuracy[device] = summary(run(cell).result)["acc"]
    assert abs(accuracy["cpu"] - accuracy["cuda"]) < 5


def test_two_runs_on_the_gpu_are_identical(tmp_path):
    results = [run(make_cell("er", ["device=cuda"], results_dir=tmp_path / name)).result for name in ("a", "b")]
    assert results[0] == results[1]


@pytest.mark.parametrize("method", ["naive", "er", "gpm", "ncm"])
def test_data_that_streams_from_the_host_gives_the_same_result(tmp_path, method):
    results = []
    for residence in ("device", "host"):
        words = ["device=cuda", f"data.residence={residence}", "trainer.epochs=2"]
        results.append(run(make_cell(method, words, results_dir=tmp_path / residence)).result)
    assert results[0] == results[1]
