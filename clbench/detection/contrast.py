"""Training of a detector's encoder on the data to forget alone: contrastive entropy, and prediction of masked inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from clbench.detection.encoder import Encoder
from clbench.detection.views import FillIn, mask

KEY = "key"
"""Name of the adapter that slowly follows the trained adapter."""


@dataclass(frozen=True)
class Contrast:
    """Options for the training of an adapter of the encoder (authors' program: `train_ood.py`, `src/ood_model_selector.py`).

    Args:
        lr: learning rate of AdamW. It rises over the first steps, then falls linearly to 0.
        epochs: passes over the samples.
        batch_size: samples per step. The last samples of a pass are left out if they do not fill a batch.
        weight_decay: weight decay of AdamW.
        warmup: share of the steps in which the rate rises.
        momentum: m. After each step the key's weights are m * key + (1 - m) * trained. 1: the key never moves.
        masked: share of the input that is masked in the training view.
        temperature: the similarity is the cosine divided by this number; None: the dot product.
        fill_in: weight of the loss for the prediction of masked inputs.
    """

    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[float, Field(ge=0, le=1)]
    momentum: Annotated[float, Field(ge=0, le=1)]
    masked: Annotated[float, Field(ge=0, le=1)]
    temperature: Annotated[float, Field(gt=0)] | None
    fill_in: Annotated[float, Field(ge=0)]


def contrastive_entropy(masked: Sequence[Tensor], keys: Sequence[Tensor], temperature: float | None) -> Tensor:
    """Return the sum over layers of the mean entropy of softmax_k(<masked_n, key_k>); O3's L_CEL.

    The loss makes each sample of the masked view similar to few keys of its batch. It lies between 0 and layers * log(B).

    Args:
        masked: features of the masked view, per layer `[B, d]`.
        keys: features of the unmasked samples from the key adapter, per layer `[B, d]`; they get no gradient.
        temperature: see `Contrast`.
    """
    total = masked[0].new_zeros(())
    for view, key in zip(masked, keys, strict=True):
        if temperature is not None:
            view, key = (nn.functional.normalize(each, dim=1) for each in (view, key))
            view = view / temperature
        logs = torch.log_softmax(view @ key.detach().mT, dim=1)
        total = total - (logs.exp() * logs).sum(1).mean()
    return total


def train(
    encoder: Encoder, name: str, n: int, batch: Callable[[Tensor], Tensor], how: Contrast, draws: torch.Generator
) -> list[float]:
    """Train the adapter `name` of an encoder on n samples; return the loss of every step.

    Args:
        encoder: holds the adapter.
        name: name of the adapter.
        n: number of samples.
        batch: function that returns the preprocessed samples at given positions (int64 `[B]`).
        how: see `Contrast`.
        draws: generator of orders and masks, on the CPU.
    """
    adapters, size = encoder.adapters, min(how.batch_size, n)
    steps = how.epochs * (n // size)
    if steps == 0 or size < 2:
        return []
    adapters.add(KEY, adapters.present[name])
    encoder.eval()  # a new adapter is in training mode
    own = [factor for pair in adapters.factors(name).values() for factor in pair]
    key = [factor for pair in adapters.factors(KEY).values() for factor in pair]
    _follow(key, own, 0.0)
    example = encoder.read(batch(torch.arange(2)))
    adapters.act([name])
    embedding = encoder.embeddings()
    with torch.no_grad():
        width = encoder(example)[0][-1].shape[1]
    head = FillIn(width, 0 if embedding is not None else example[0].numel(), embedding).to(example.device)
    trained = [*own, *head.head.parameters()]
    for factor in own:
        factor.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=how.lr, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _triangle(steps, round(how.warmup * steps)))
    vocabulary = 0 if embedding is None else len(embedding)
    losses = list[Tensor]()
    for _ in range(how.epochs):
        order = torch.randperm(n, generator=draws)
        for positions in torch.split(order[: n // size * size], size):
            inputs = encoder.read(batch(positions))
            adapters.act([KEY])
            with torch.no_grad():
                keys, _ = encoder(inputs)
            adapters.act([name])
            view, where = mask(inputs, how.masked, draws, encoder.pad, vocabulary)
            with _dropping(encoder):
                features, hidden = encoder(view)
            loss = contrastive_entropy(features, keys, how.temperature)
            if how.fill_in:
                loss = loss + how.fill_in * head.loss(hidden, features[-1], inputs, where)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            _follow(key, own, how.momentum)
            losses.append(loss.detach())
    adapters.remove(KEY)
    encoder.requires_grad_(False)
    return [float(loss) for loss in losses]


def _follow(key: Sequence[Tensor], trained: Sequence[Tensor], momentum: float) -> None:
    """Move the key towards the trained adapter: m * key + (1 - m) * trained."""
    with torch.no_grad():
        for slow, fast in zip(key, trained, strict=True):
            slow.lerp_(fast, 1 - momentum)


def _triangle(steps: int, rising: int) -> Callable[[int], float]:
    """Return the function from a step to the factor of the rate: up to 1 over `rising` steps, then down to 0."""
    return lambda step: min(1.0, (step + 1) / max(1, rising)) if step < rising else (steps - step) / max(1, steps - rising)


@contextmanager
def _dropping(encoder: nn.Module) -> Iterator[None]:
    """Switch on the dropout of adapters, and no other dropout."""
    parts = [part for name, part in encoder.named_modules() if "lora_dropout" in name]
    for part in parts:
        part.train()
    try:
        yield
    finally:
        for part in parts:
            part.eval()
