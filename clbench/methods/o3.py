"""O3: unlearning by adapters that are loaded as far as an input is like what was to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from clbench.detection.detector import Detector
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.optimizers import clip_by_norm
from clbench.errors import ConfigError
from clbench.method import Renews, Train
from clbench.methods.random_targets import Choice, relabelled
from clbench.methods.unlearning import Rate, Unlearner
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.lora import Adapters, Targets, parameter_name


@dataclass
class O3(Unlearner):
    """O3 (Gao et al., "On Large Language Model Continual Unlearning", ICLR 2025; GCYZSL/O3-LLM-UNLEARNING).

    At a request the network stands still; a low-rank adapter learns random answers to what is to be forgotten, its A held
    orthogonal to those of earlier requests, and a detector learns what such inputs look like. No other data is needed. An input
    then passes through W x + sum over requests of w_i * alpha / r * B_i A_i x, with w_i from detector i. Adapters act in
    `predict` alone: for what is learned after a request the network is as naive fine-tuning leaves it.

    Args:
        rank: r.
        alpha: the adapter's output is multiplied by alpha / r.
        dropout: of what enters the adapter, in training.
        targets: as of `clbench.methods.lora.SeqLoRA`.
        clip_norm: bound on the joint norm of all gradients of a step at a request; None: none.
        strength: gamma, of the mean over layers of the sum over earlier requests of ||A_i A^T||_F^2.
        labels: `any`: random answers may be right by chance, as in the authors' program; `other`: they never are.
        adapters: `each`: a new one per request, weighted by its own detector. `newest`: a request goes on from the last one's,
            and that alone is loaded, with the greatest weight of all detectors (the authors' program).
        detector: how inputs are told apart (`clbench.detection`).
    """

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Targets
    clip_norm: Rate
    strength: Annotated[float, Field(ge=0)]
    labels: Choice
    adapters: Literal["each", "newest"]
    detector: Any
    answers: ClassVar[bool] = True
    renews: ClassVar[Renews] = "later"

    def __post_init__(self) -> None:
        if not isinstance(self.detector, Detector):
            raise ConfigError(
                f"method.detector={self.detector!r} is no detector", "leave its keys as conf/method/o3.yaml has them"
            )

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Find the layers; no adapter and no detector yet."""
        self.detector.setup(learner)
        self._adapters = Adapters(learner, self.targets, self.alpha / self.rank)
        learner.completions.append(self._adapters.initial)
        self._movable = [parameter for parameter in learner.model.parameters() if parameter.requires_grad]
        self._past: dict[str, Tensor] = {}
        self._report: dict[str, Any] = {}
        self.requests_met: list[int] = []

    def begin_task(self, learner: Learner, task: Task) -> None:
        """At a request, make the detector before anything changes, and let a new adapter train and nothing else."""
        self._rest(learner)
        if task.kind == "learn":
            return
        self._report = {"detector_loss": _ends(self.detector.learn(task))}
        earlier = [self._name(index) for index in self.requests_met]
        factors = {name: self._adapters.factors(name) for name in earlier}
        self._past = {
            layer: torch.cat([factors[name][layer][0].detach() for name in earlier]) for layer in self._layers if earlier
        }
        self._adapters.add(self._name(task.index), self.rank, self.dropout, partial(learner.generator, "o3", task.index))
        if self.adapters == "newest" and earlier:
            last = factors[earlier[-1]]
            self._adapters.write(self._name(task.index), {layer: (a.detach(), b.detach()) for layer, (a, b) in last.items()})
        learner.model.to(learner.device)
        self.requests_met.append(task.index)
        self._adapters.train(self._name(task.index))
        self._adapters.act([self._name(task.index)])
        learner.model.heads.requires_grad_(False)
        weight_matrices.freeze_statistics(learner)

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn random answers."""
        self._training = task.index
        train(relabelled(task.train, learner, task, self.labels), self.epochs)
        del self._training

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return strength * how far A is from orthogonal to those of earlier requests; 0 for the first one."""
        if self.strength == 0 or not self._past or not self._meeting(learner):
            return logits.new_zeros(())
        return self.strength * self.overlap(learner)

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Bound the step at a request."""
        if self.clip_norm is not None and self._meeting(learner):
            clip_by_norm(list(learner.gradients.values()), self.clip_norm)

    def overlap(self, learner: Learner) -> Tensor:
        """Return the mean over layers of the sum over earlier requests i of ||A_i A^T||_F^2; no gradient reaches A_i."""
        name = self._name(self.requests_met[-1])
        products = [past @ learner.parameters[parameter_name(layer, "A", name)].mT for layer, past in self._past.items()]
        return torch.stack([product.square().sum() for product in products]).mean()

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """After a request, put the network back to what it was, adapters aside."""
        if task.kind == "learn":
            return
        if self._past:
            self._report["overlap"] = float(self.overlap(learner).detach())
        self._past = {}
        self._rest(learner)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return scores, each request's adapter weighted by how much an input is like what was to be forgotten."""
        with self.generation_context(learner, inputs):
            return learner.logits(inputs, task_id)

    @contextmanager
    def generation_context(self, learner: Learner, inputs: Tensor) -> Iterator[None]:
        """Let adapters act as far as `inputs` ask for it."""
        if not self.requests_met or not self.detector.references:
            yield
            return
        with self.loaded(self.detector.weights(inputs)):
            yield

    def forget_score(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return what the detectors say, `[B, requests]`."""
        found: Tensor = self.detector.forget_score(self.detector.read(inputs))
        return found

    @contextmanager
    def loaded(self, weights: Tensor) -> Iterator[None]:
        """Let adapters act, weighted by sample.

        Args:
            weights: `[B, requests]`.
        """
        names = [self._name(index) for index in self.requests_met]
        columns = list(weights.unbind(1))
        if self.adapters == "newest":
            names, columns = names[-1:], [weights.amax(1)]
        handles = []
        self._adapters.act(names)
        try:
            for layer in self._layers:
                for name, column in zip(names, columns, strict=True):
                    handles.append(self._adapters.output(layer, name).register_forward_hook(partial(_weighted, column)))
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._adapters.act([])

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Put detectors and adapters back in place; the model's weights fill the latter."""
        self.detector.load_state(state.pop("detector"))
        super().load_state(learner, state)
        for index in self.requests_met:
            self._adapters.add(self._name(index), self.rank, self.dropout)
        self._rest(learner)

    def state(self) -> dict[str, Any]:
        """Return which requests were met, and their detectors."""
        return super().state() | {"detector": self.detector.state()}

    def diagnostics(self) -> dict[str, Any]:
        """Return, of a request, `detector_loss` (first and last step) and its final `overlap` with earlier adapters."""
        return self._report

    @property
    def _layers(self) -> tuple[str, ...]:
        return self._adapters.layers

    def _name(self, index: int) -> str:
        return f"request{index}"

    def _rest(self, learner: Learner) -> None:
        """Let no adapter act, and train what trained from the start."""
        if not self.requests_met:
            return
        self._adapters.act([])
        learner.model.requires_grad_(False)
        for parameter in self._movable:
            parameter.requires_grad_(True)
        weight_matrices.freeze_statistics(learner, False)
        learner.rebuild()


def _weighted(weights: Tensor, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    """Multiply what an adapter adds to each sample, `[B, ...]`."""
    return output * weights.view(-1, *(1,) * (output.dim() - 1)).to(output.dtype)


def _ends(losses: Sequence[float]) -> list[float]:
    return [losses[0], losses[-1]] if losses else []
