"""Precision: what is computed in which, and that single precision is the record of old."""

import pytest
import torch
from torch import nn

from clbench.engine.learner.precision import arithmetic, full
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.methods.naive import Naive
from clbench.runs.run import assemble
from clbench.testing import make_spec, run
from tests.streams import blob_stream, learner_for, trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def flags():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "inside"), [("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_passes_are_made_in_it_and_nothing_else(precision, inside):
    stream = blob_stream()
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer(precision=precision))
    seen = set()
    layer = next(part for part in learner.model.modules() if isinstance(part, nn.Linear))
    layer.register_forward_hook(lambda _, arguments, output: seen.add(output.dtype))
    training.begin(stream.tasks[0])
    loss = training.step(learner.batch(stream.tasks[0].train, torch.arange(8)))
    assert seen == {inside}
    assert loss.dtype == torch.float32
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}


def test_tf32_is_allowed_where_asked_for_only():
    for precision, allowed in (("tf32", True), ("float32", False), ("bf16", False)):
        arithmetic(precision, CPU)
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed


def test_losses_are_computed_from_full_logits():
    assert full(torch.zeros(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert full(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("method", ["naive", "er", "ewc", "gpm", "derpp", "agem", "lwf"])
def test_methods_learn_in_half_precision(tmp_path, method):
    spec = make_spec(method, ["trainer.precision=bf16"], results_dir=tmp_path)
    single = make_spec(method, [], results_dir=tmp_path)
    assert spec.id != single.id
    ours, theirs = run(spec).result, run(single).result
    assert ours["matrix"][0] != theirs["matrix"][0] or ours["curves"] != theirs["curves"]
    difference = torch.tensor(ours["matrix"])[1:, :, 0].sum(1) - torch.tensor(theirs["matrix"])[1:, :, 0].sum(1)
    assert difference.abs().max() < 0.1 * 360, "of 360 test samples"


def test_the_default_is_left_out_of_a_records_identity(tmp_path):
    spec = make_spec("naive", ["trainer.precision=float32"], results_dir=tmp_path)
    assert spec.id == make_spec("naive", results_dir=tmp_path).id
    assert "precision" not in str(spec.identity)


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.precision"):
        run(make_spec("naive", ["trainer.precision=fp8"], results_dir=tmp_path))


@pytest.mark.parametrize(("model", "format"), [("resnet18_reduced", torch.channels_last), ("mlp", torch.contiguous_format)])
def test_convolutions_lie_channels_last(tmp_path, model, format):
    spec = make_spec("naive", [f"model={model}"], results_dir=tmp_path)
    learner = assemble(spec, CPU)[2]
    wide = [p for p in learner.model.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert bool(wide) == (model != "mlp")
    assert all(p.is_contiguous(memory_format=format) for p in wide)
