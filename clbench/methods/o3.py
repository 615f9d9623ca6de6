"""O3: unlearning by adapters, each weighted by an input's similarity to the data to forget."""

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
from clbench.method import Train, Trait
from clbench.methods.random_targets import Choice, with_random_targets
from clbench.methods.unlearning import Rate, Unlearner
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.lora import Adapters, Targets, parameter_name


@dataclass
class O3(Unlearner):
    """O3 (Gao et al., "On Large Language Model Continual Unlearning", ICLR 2025; GCYZSL/O3-LLM-UNLEARNING).

    At a request the network is frozen. A low-rank adapter learns random answers to the data to forget, with its A kept orthogonal
    to those of earlier requests. A detector learns to recognise such inputs. No other data is needed. An input then passes
    through W x + sum over requests of w_i * alpha / r * B_i A_i x, with w_i from detector i. Adapters act only in `predict`.
    Tasks after a request therefore train the network like naive fine-tuning.

    Args:
        rank: r.
        alpha: the adapter's output is multiplied by alpha / r.
        dropout: rate of dropout on the adapter's input, in training.
        targets: as in `clbench.methods.lora.SeqLoRA`.
        clip_norm: bound on the joint norm of all gradients of a step at a request; None: no bound.
        strength: gamma, the weight of the mean over layers of the sum over earlier requests of ||A_i A^T||_F^2.
        labels: `any`: random answers may be right by chance, as in the authors' program; `other`: they never are.
        adapters: `each`: a new adapter per request, weighted by its own detector. `newest`: a request continues the last adapter,
            and only that one is loaded, with the greatest weight of all detectors (the authors' program).
        detector: the detector of inputs to forget (`clbench.detection`).
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
    supports_generation: ClassVar[bool] = True
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REPLACES_PARAMETERS_LATER})

    def __post_init__(self) -> None:
        if not isinstance(self.detector, Detector):
            raise ConfigError(
                f"method.detector={self.detector!r} is no detector", "leave its keys as conf/method/o3.yaml has them"
            )

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Find the layers; there is no adapter and no detector yet."""
        self.detector.setup(learner)
        self._adapters = Adapters(learner, self.targets, self.alpha / self.rank)
        learner.completions.append(self._adapters.initial)
        self._movable = [parameter for parameter in learner.model.parameters() if parameter.requires_grad]
        self._past: dict[str, Tensor] = {}
        self._report: dict[str, Any] = {}
        self.requests_met: list[int] = []

    def begin_task(self, learner: Learner, task: Task) -> None:
        """At a request, make the detector before anything changes. Then train only a new adapter."""
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
        train(with_random_targets(task.train, learner, task, self.labels), self.epochs)
        del self._training

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return strength * the overlap of A with those of earlier requests; 0 for the first one."""
        if self.strength == 0 or not self._past or not self._at_request(learner):
            return logits.new_zeros(())
        return self.strength * self.overlap(learner)

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Clip the gradients at a request."""
        if self.clip_norm is not None and self._at_request(learner):
            clip_by_norm(list(learner.gradients.values()), self.clip_norm)

    def overlap(self, learner: Learner) -> Tensor:
        """Return the mean over layers of the sum over earlier requests i of ||A_i A^T||_F^2; no gradient reaches A_i."""
        name = self._name(self.requests_met[-1])
        products = [past @ learner.parameters[parameter_name(layer, "A", name)].mT for layer, past in self._past.items()]
        return torch.stack([product.square().sum() for product in products]).mean()

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """After a request, switch the adapters off and train the network again."""
        if task.kind == "learn":
            return
        if self._past:
            self._report["overlap"] = float(self.overlap(learner).detach())
        self._past = {}
        self._rest(learner)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return scores. Each request's adapter is weighted by the input's similarity to the data to forget."""
        with self.generation_context(learner, inputs):
            return learner.logits(inputs, task_id)

    @contextmanager
    def generation_context(self, learner: Learner, inputs: Tensor) -> Iterator[None]:
        """Weight the adapters by the detectors' answers on `inputs`."""
        if not self.requests_met or not self.detector.references:
            yield
            return
        with self.loaded(self.detector.weights(inputs)):
            yield

    def forget_score(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return the detectors' scores, `[B, requests]`."""
        found: Tensor = self.detector.forget_score(self.detector.read(inputs))
        return found

    @contextmanager
    def loaded(self, weights: Tensor) -> Iterator[None]:
        """Activate adapters with a weight per sample.

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
        """Restore the detectors, and add the adapters again; the model's weights fill the adapters."""
        self.detector.load_state(state.pop("detector"))
        super().load_state(learner, state)
        for index in self.requests_met:
            self._adapters.add(self._name(index), self.rank, self.dropout)
        self._rest(learner)

    def state(self) -> dict[str, Any]:
        """Return the handled requests and their detectors."""
        return super().state() | {"detector": self.detector.state()}

    def diagnostics(self) -> dict[str, Any]:
        """Return `detector_loss` of a request (first and last step) and its final `overlap` with earlier adapters."""
        return self._report

    @property
    def _layers(self) -> tuple[str, ...]:
        return self._adapters.layers

    def _name(self, index: int) -> str:
        return f"request{index}"

    def _rest(self, learner: Learner) -> None:
        """Switch all adapters off, and train the parameters that trained at the start."""
        if not self.requests_met:
            return
        self._adapters.act([])
        learner.model.requires_grad_(False)
        for parameter in self._movable:
            parameter.requires_grad_(True)
        weight_matrices.freeze_statistics(learner, False)
        learner.rebuild()


def _weighted(weights: Tensor, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    """Multiply an adapter's output for each sample, `[B, ...]`."""
    return output * weights.view(-1, *(1,) * (output.dim() - 1)).to(output.dtype)


def _ends(losses: Sequence[float]) -> list[float]:
    return [losses[0], losses[-1]] if losses else []
