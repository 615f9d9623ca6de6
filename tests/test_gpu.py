"""On a CUDA device: the same code, and numbers that agree with the CPU's."""

from dataclasses import replace

import pytest
import torch

from clbench.config.hydra_compose import conf_dir
from clbench.metrics.matrix import summary
from clbench.records import Record
from clbench.runs.parallel_seeds import run_stacked
from clbench.runs.run import train_run
from clbench.testing import make_spec, run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml") if path.stem != "compose")


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_the_gpu_agrees_with_the_cpu(tmp_path, method):
    accuracy = {}
    for device in ("cpu", "cuda"):
        spec = make_spec(method, [f"device={device}", "trainer.epochs=5"], results_dir=tmp_path / device)
        accuracy[device] = summary(run(spec).result)["acc"]
    assert abs(accuracy["cpu"] - accuracy["cuda"]) < 5


def test_two_runs_on_the_gpu_are_identical(tmp_path):
    results = [run(make_spec("er", ["device=cuda"], results_dir=tmp_path / name)).result for name in ("a", "b")]
    assert results[0] == results[1]


@pytest.mark.parametrize("method", ["naive", "er", "gpm", "ncm"])
def test_data_that_streams_from_the_host_gives_the_same_result(tmp_path, method):
    results = []
    for residence in ("device", "host"):
        words = ["device=cuda", f"data.residence={residence}", "trainer.epochs=2"]
        results.append(run(make_spec(method, words, results_dir=tmp_path / residence)).result)
    assert results[0] == results[1]


@pytest.mark.parametrize("method", ["naive", "ewc", "si", "er", "gpm", "agem", "derpp"])
def test_seeds_side_by_side_agree_with_seeds_alone(tmp_path, method):
    specs = [make_spec(method, ["device=cuda"], seed=seed, results_dir=tmp_path / "a") for seed in range(4)]
    together = run_stacked(specs, lambda spec, message: None)
    for seed, record in enumerate(together):
        assert isinstance(record, Record), record
        assert record.provenance["stacked"] == 4
        alone = run(make_spec(method, ["device=cuda"], seed=seed, results_dir=tmp_path / "b"))
        assert abs(summary(record.result)["acc"] - summary(alone.result)["acc"]) < 3


@pytest.mark.parametrize("method", ["naive", "ewc", "si"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_replayed_steps_are_the_steps(tmp_path, method, momentum):
    words = ["device=cuda", f"optimizer.momentum={momentum}", "trainer.epochs=3", "trainer.batch_size=16"]
    results = {}
    for graph in (False, True):
        spec = make_spec(method, words, results_dir=tmp_path / str(graph))
        spec = replace(spec, execution=replace(spec.execution, graph=graph))
        told = []
        results[graph] = train_run(spec, told.append).result
        assert not [message for message in told if message["event"] == "print"]
    assert results[False] == results[True]


def test_half_precision_learns(tmp_path):
    accuracy = {}
    for precision in ("float32", "tf32", "bf16"):
        words = ["device=cuda", f"trainer.precision={precision}", "trainer.epochs=5"]
        accuracy[precision] = summary(run(make_spec("er", words, results_dir=tmp_path / precision)).result)["acc"]
    assert max(accuracy.values()) - min(accuracy.values()) < 5
