"""One detector per request: it decides whether an input is similar to the request's data to forget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.data.pool import Split
from clbench.detection.boundary import Boundary, Weighting, alike, boundary, values, weights
from clbench.detection.contrast import Contrast, train
from clbench.detection.encoder import Encoder, layers_of
from clbench.detection.score import Reference, Scoring, reference, scores
from clbench.engine.learner.learner import Learner
from clbench.stream import Task
from clbench.toolkit.lora import Targets
from clbench.utils import rng

FEWEST = 10
"""A request with fewer samples has no held-out ones: its boundary uses the fitted samples themselves."""


@dataclass
class Detector:
    """Detectors of requests on one frozen encoder. Each request has its own adapter and its own reference features.

    The encoder is a copy of the model's backbone, made at the first request. So every model has an encoder, with the model's own
    tokens. (O3's authors use RoBERTa for every model.)

    Args:
        encoder: `current`: the backbone at the first request, which has already learned tasks. `initial`: the backbone before any
            task, for example a pre-trained one.
        rank: r of the adapters.
        alpha: the adapters' outputs are multiplied by alpha / r.
        dropout: dropout of the adapters' inputs, in training.
        targets: as in `clbench.methods.lora.SeqLoRA`.
        held_out: share of a request's samples that give the boundary's spread.
        batch_size: samples per forward pass outside training.
        training: options for the training of the adapters.
        scoring: options for scores from features.
        weighting: options for weights from scores.
    """

    encoder: Literal["current", "initial"]
    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Targets
    held_out: Annotated[float, Field(gt=0, lt=1)]
    batch_size: Annotated[int, Field(ge=1)]
    training: Contrast
    scoring: Scoring
    weighting: Weighting

    def setup(self, learner: Learner) -> None:
        """Start without any request."""
        self._learner = learner
        self._encoder: Encoder | None = None
        self.references: list[Reference] = []
        self.boundaries: list[Boundary] = []

    @property
    def names(self) -> list[str]:
        """The adapters' names, one per request so far."""
        return [f"detector{number}" for number in range(len(self.references))]

    def learn(self, task: Task) -> list[float]:
        """Add the detector of a request; return the losses of its encoder's steps."""
        learner, split, seed = self._learner, task.train, self._learner.seed
        learner.model.eval()
        learner.evaluation_cache.clear()
        if self._encoder is None:
            self._make(layers_of(self._backbone(), self._inputs(split, torch.arange(min(2, len(split))))))
        encoder, name = self._made(), f"detector{len(self.references)}"
        encoder.adapters.add(name, self.rank, self.dropout, partial(learner.generator, "detector", task.index))
        encoder.to(learner.device).eval()
        torch.manual_seed(rng.derive(seed, "detector dropout", task.index))
        draws = learner.generator("detector training", task.index)
        losses = train(encoder, name, len(split), partial(self._inputs, split), self.training, draws)
        order = torch.randperm(len(split), generator=learner.generator("detector split", task.index))
        n_held = round(self.held_out * len(split)) if len(split) >= FEWEST else 0
        held, fitted = (self._features(split, part, name) for part in (order[:n_held] if n_held else order, order[n_held:]))
        kept = reference(fitted, held, self.scoring, rng.derive(seed, "centres", task.index) % 2**32)
        bounds = boundary(scores(fitted, kept, self.scoring), scores(held, kept, self.scoring), self.weighting)
        self.references.append(kept)
        self.boundaries.append(bounds)
        return losses

    def forget_score(self, inputs: Tensor) -> Tensor:
        """Return the similarity `[B, requests]` of inputs from `read` to each request's data; larger is more similar."""
        columns = zip(self._values(inputs).unbind(1), self.boundaries, strict=True)
        return torch.stack([alike(h, kept, self.weighting) for h, kept in columns], dim=1)

    def _values(self, inputs: Tensor) -> Tensor:
        """Return h `[B, requests]` of inputs from `read`."""
        encoder, columns = self._made(), []
        for name, kept, bounds in zip(self.names, self.references, self.boundaries, strict=True):
            found = scores(encoder.features([inputs], name), kept, self.scoring)
            columns.append(values(found, bounds, self.weighting))
        return torch.stack(columns, dim=1)

    def read(self, inputs: Tensor) -> Tensor:
        """Return the part of preprocessed inputs `[B, ...]` that detectors use; see `Encoder.read`."""
        return self._made().read(inputs)

    def weights(self, inputs: Tensor) -> Tensor:
        """Return the weight `[B, requests]` of each request's adapter for preprocessed inputs.

        The last result is stored until the evaluation ends. A second call with the same inputs (several answers to one prompt)
        computes nothing.
        """
        inputs = self.read(inputs)
        last = self._learner.evaluation_cache.get("detector weights")
        if last is None or last[0].shape != inputs.shape or not torch.equal(last[0], inputs):
            columns = zip(self._values(inputs).unbind(1), self.boundaries, strict=True)
            last = inputs, torch.stack([weights(h, kept, self.weighting) for h, kept in columns], dim=1)
            self._learner.evaluation_cache["detector weights"] = last
        found: Tensor = last[1]
        return found

    def state(self) -> dict[str, Any]:
        """Return the encoder with its adapters, and the reference and boundary of each request."""
        if self._encoder is None:
            return {}
        kept = [reference.state() for reference in self.references], [each.state() for each in self.boundaries]
        weights = dict(self._encoder.state_dict())
        return {"layers": self._encoder.layers, "encoder": weights, "references": kept[0], "boundaries": kept[1]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the tree that `state` returned, on a model without adapters."""
        if not state:
            return
        self.references = [Reference(**each) for each in state["references"]]
        self.boundaries = [Boundary(**each) for each in state["boundaries"]]
        self._make(state["layers"])
        encoder = self._made()
        for name in self.names:
            encoder.adapters.add(name, self.rank, self.dropout)
        encoder.to(self._learner.device).eval()
        encoder.load_state_dict(state["encoder"])
        encoder.requires_grad_(False)

    def _make(self, layers: list[str]) -> None:
        self._encoder = Encoder(self._backbone(), layers, self._pad(), self.targets, self.alpha / self.rank)

    def _made(self) -> Encoder:
        if self._encoder is None:
            raise ValueError("there was no request yet, so there is no detector")
        return self._encoder

    def _backbone(self) -> torch.nn.Module:
        learner = self._learner
        return (learner.initial().to(learner.device) if self.encoder == "initial" else learner.model).backbone

    def _pad(self) -> int | None:
        return self._learner.stream.tasks[0].train.pool.pad

    def _inputs(self, split: Split, positions: Tensor) -> Tensor:
        return self._learner.batch(split, positions.to(split.rows.device)).inputs

    def _features(self, split: Split, positions: Tensor, name: str) -> list[Tensor]:
        batches = [self._inputs(split, part) for part in torch.split(positions, self.batch_size)]
        return self._made().features(batches, name)
