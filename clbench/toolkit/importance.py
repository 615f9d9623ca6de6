"""Importance of each parameter for the outputs: means over samples of powers of per-sample gradients.

Squared gradients of the log-likelihood give the diagonal Fisher information (EWC). Absolute gradients of the outputs' squared
norm give the sensitivity (MAS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clbench.data.answer_tokens import owners
from clbench.data.pool import Split
from clbench.engine.learner.learner import Batch, Learner
from clbench.errors import RefusedError
from clbench.stream import Stream
from clbench.utils import cpu_matmul

Estimator = Literal["exact", "empirical", "sampled", "weighted"]

GRADIENT_BYTES = 64 * 2**20
"""Bytes of per-sample gradients that are in memory at one time (affects speed only)."""
LINEAR_CHUNK = 1024
"""Samples per pass if no per-sample gradient is formed (affects speed only)."""


@dataclass(frozen=True)
class Quantity:
    """A function that is differentiated per sample, and the power of its gradient that is summed.

    Args:
        value: from logits `[B, K]` and labels `[B]` to one number per sample `[B]`.
        power: square or absolute value: elementwise, with power(a * b) = power(a) * power(b).
    """

    value: Callable[[Tensor, Tensor], Tensor]
    power: Callable[[Tensor], Tensor]


def _log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    return F.log_softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _squared_norm(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.square().sum(1)


FISHER = Quantity(_log_likelihood, torch.square)
SENSITIVITY = Quantity(_squared_norm, torch.abs)


def refuse(estimator: Estimator, stream: Stream) -> None:
    """Refuse an estimator that is impossible on a stream, before any training.

    Raises:
        RefusedError: `exact` for a model that writes answers.
    """
    if estimator == "exact" and stream.vocabulary is not None:
        raise RefusedError(
            f"method.fisher=exact: the exact Fisher information sums over all {stream.vocabulary} tokens, "
            "at every position of every answer",
            "give method.fisher=empirical or sampled (in a composition method.parts.NAME.fisher)",
        )


def diagonal_fisher(
    learner: Learner, split: Split, estimator: Estimator, samples: int | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the mean over samples of squared gradients of log p(y|x), by parameter name, shaped as the parameter.

    The estimators differ in y (Kunstner et al., NeurIPS 2019; van de Ven, 'On the computation of the Fisher information in
    continual learning', ICLR 2025 blog track). `exact`: the expectation over y ~ p(y|x). `sampled`: one draw of y.
    `empirical`: the true label. `weighted`: only the true label's term of the expectation, p(y|x) times the square (the online
    EWC in the program of Buzzega et al., NeurIPS 2020, `models/ewc_on.py`). The model is in evaluation mode, like at later use.

    Args:
        learner: its current task's outputs are the classes.
        split: the samples.
        estimator: see above.
        samples: number of samples, drawn without replacement; None: all.
        generator: the method's own, on the CPU.
    """
    return _mean(learner, split, FISHER, estimator, samples, generator)


def output_sensitivity(learner: Learner, split: Split, samples: int | None, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the mean over samples of |d ||f(x)||^2 / d theta|, by parameter name, shaped as the parameter.

    f(x) are the active logits of the current task, and the norm is the L2 norm. No label is needed (Aljundi et al., ECCV 2018,
    equations 2 and 3). The absolute value is taken per sample, as in the paper. Programs that first differentiate the mean over a
    batch get smaller values. The model is in evaluation mode.

    Args:
        learner: its current task's outputs are f.
        split: the samples.
        samples: number of samples, drawn without replacement; None: all.
        generator: the method's own, on the CPU.
    """
    return _mean(learner, split, SENSITIVITY, "empirical", samples, generator)


def _mean(
    learner: Learner, split: Split, quantity: Quantity, estimator: Estimator, samples: int | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the mean over samples of powers of per-sample gradients of `quantity`."""
    refuse(estimator, learner.stream)
    learner.model.eval()
    names, _ = learner.trainable()
    n = len(split) if samples is None else min(samples, len(split))
    order = torch.randperm(len(split), generator=generator)[:n].to(split.rows.device)
    powers = _of_linear_layers if _only_linear(learner, names) else _of_any_module
    if learner.model.sequential:
        powers = _one_by_one
    total: dict[str, Tensor] = {}
    for positions in torch.split(order, LINEAR_CHUNK if powers is _of_linear_layers else _chunk(learner, names)):
        batch = learner.batch(split, positions)
        for name, value in powers(learner, batch, quantity, estimator, generator).items():
            total[name] = total[name] + value if name in total else value
    return {name: value / n for name, value in total.items()}


def _only_linear(learner: Learner, names: list[str]) -> bool:
    """Return whether every named parameter is the weight or bias of a plain linear layer."""
    linear = {name for name, module in learner.model.named_modules() if type(module) is nn.Linear}
    return all(name.rpartition(".")[0] in linear for name in names)


def _of_linear_layers(
    learner: Learner, batch: Batch, quantity: Quantity, estimator: Estimator, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return sums of powers of per-sample gradients, without computing any single gradient.

    A linear layer's gradient on one sample is delta x^T. Its square is delta^2 (x^2)^T, and its absolute value |delta| |x|^T. One
    matrix product of powers therefore sums it over the batch. Tests compare the result with `_of_any_module`.
    """
    model, (head, outputs) = learner.model, _outputs(learner)
    calls: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name in calls or inputs[0].dim() != 2:
                raise TypeError(f"layer {name} is used more than once or on inputs of {inputs[0].dim()} dimensions")
            calls[name] = (inputs[0].detach(), output)

        return model.get_submodule(name).register_forward_hook(hook)

    names, _ = learner.trainable()
    handles = [keep(layer) for layer in dict.fromkeys(name.rpartition(".")[0] for name in names)]
    try:
        logits = model(batch.inputs, head, outputs)
    except TypeError:
        return _of_any_module(learner, batch, quantity, estimator, generator)
    finally:
        for handle in handles:
            handle.remove()
    probabilities = F.log_softmax(logits.detach(), dim=1).exp()
    powers: dict[str, Tensor] = {}
    for labels, weight in _labels(estimator, batch.labels, probabilities, generator):
        value = quantity.value(logits, labels).sum()
        deltas = torch.autograd.grad(value, [output for _, output in calls.values()], retain_graph=True)
        for layer, delta in zip(calls, deltas, strict=True):
            power = quantity.power(delta) * weight.unsqueeze(1)
            powers[layer] = powers[layer] + power if layer in powers else power
    total = {f"{layer}.weight": cpu_matmul.mm(power.mT, quantity.power(calls[layer][0])) for layer, power in powers.items()}
    total |= {f"{layer}.bias": power.sum(0) for layer, power in powers.items()}
    return {name: total[name] for name in names}


def _of_any_module(
    learner: Learner, batch: Batch, quantity: Quantity, estimator: Estimator, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return sums of powers of per-sample gradients of any model, one gradient per sample."""
    model, (head, outputs) = learner.model, _outputs(learner)
    names, parameters = learner.trainable()
    values = dict(zip(names, [parameter.detach() for parameter in parameters], strict=True))

    def of_one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(model, weights, (x.unsqueeze(0), head, outputs))
        return quantity.value(logits, y.unsqueeze(0)).squeeze(0)

    per_sample = vmap(grad(of_one), in_dims=(None, 0, 0))
    with torch.no_grad():
        probabilities = F.softmax(model(batch.inputs, head, outputs), dim=1)
    total = {name: torch.zeros_like(value) for name, value in values.items()}
    for labels, weight in _labels(estimator, batch.labels, probabilities, generator):
        for name, gradients in per_sample(values, batch.inputs, labels).items():
            total[name] += torch.einsum("b...,b->...", quantity.power(gradients), weight)
    return total


def _one_by_one(
    learner: Learner, batch: Batch, quantity: Quantity, estimator: Estimator, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return sums of powers of per-sample gradients, with one backward pass per sample, as models of transformers need it.

    If the model writes answers, a sample's value is the sum over its answer's tokens, and its weight the product over them.
    """
    model, (head, outputs) = learner.model, _outputs(learner)
    names, parameters = learner.trainable()
    total = {name: torch.zeros_like(parameter) for name, parameter in zip(names, parameters, strict=True)}
    owner = owners(batch.inputs) if learner.stream.vocabulary is not None else torch.arange(len(batch), device=batch.rows.device)
    for index in range(len(batch)):
        logits = model(batch.inputs[index : index + 1], head, outputs)
        probabilities = F.softmax(logits.detach(), dim=1)
        for labels, weights in _labels(estimator, batch.labels[owner == index], probabilities, generator):
            value = quantity.value(logits, labels).sum()
            found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, found, strict=True):
                if gradient is not None:
                    total[name] += quantity.power(gradient) * weights.prod()
    return total


def _chunk(learner: Learner, names: list[str]) -> int:
    """Return the number of per-sample gradients in memory at one time."""
    return max(1, GRADIENT_BYTES // (4 * sum(learner.parameters[name].numel() for name in names)))


def _outputs(learner: Learner) -> tuple[int | None, int | None]:
    """Return (head, number of active outputs) of the current task, as in its loss; None: all."""
    if learner.stream.own_heads:
        return (None if learner.stream.outputs == "all" else learner.task), None
    return 0, learner.stream.active_outputs(learner.task)


def _labels(estimator: Estimator, true: Tensor, probabilities: Tensor, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return pairs (labels `[B]`, weights `[B]`); the sum of their weighted powers is the estimator."""
    ones = torch.ones_like(probabilities[:, 0])
    if estimator == "empirical":
        return [(true, ones)]
    if estimator == "weighted":
        return [(true, probabilities.gather(1, true.unsqueeze(1)).squeeze(1))]
    if estimator == "sampled":
        drawn = torch.multinomial(probabilities.cpu(), 1, generator=generator).squeeze(1)
        return [(drawn.to(true.device), ones)]
    return [(torch.full_like(true, c), probabilities[:, c]) for c in range(probabilities.shape[1])]
