"""FOT: the global model's steps are orthogonal to each layer's inputs of earlier tasks. Clients send only sketches of inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError, RefusedError
from clbench.federated import sketch
from clbench.federated.messages import Tensors
from clbench.federated.servers.base import Ask, Asked, Server
from clbench.methods.gpm import per_layer
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.subspace_report import SubspaceReport

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0)]
SKETCH = "sketch"
"""The question to clients after a task; also the prefix of the names of the bases that the server sends with it."""
ENERGIES = "/energies"
"""The suffix of a matrix's name for an answer's energies; without it, the name means the sketch."""


@dataclass
class FOT(Server):
    """Federated orthogonal training (Bakman et al., ICLR 2024, arXiv 2309.01289; duygunuryldz/Federated_Orthogonal_Training).

    After each task clients send one random sketch of each layer's inputs on their own samples (`federated.sketch`). The sum of
    the sketches gives the principal subspace of the pooled inputs, which extends the layer's basis. From then on the server
    removes from every mean update of a layer its component in the basis. Client training does not change. The projected update
    contains every movement of the weights at the clients, also by momentum and weight decay.

    Heads of the task setting are not projected: they are frozen after their task.

    Args:
        threshold: share of the inputs' energy to hold, in [0, 1]: one number, or one per layer in the model's order; 0: nothing.
        threshold_step: added to the threshold after every task.
        ratio: measure of the energy that the basis misses: `energy`, as the threshold means it; or `norm`, the authors' mean of
            norm ratios, which keeps more directions than the threshold asks for (`federated.sketch.held`).
        at_least_one: True: every task adds a direction, as in the authors' program. False: none if nothing is new.
        bias: `project`: a constant 1 is appended to the inputs, so that the projection includes biases. `free`: biases are not
            projected, as in the authors' program.
        width: columns of a sketch, as a multiple of the inputs' dimension: one number, or one per layer.
        distribution: distribution of the random columns: `normal` or `uniform`.
        sketch_on: the model that gives the layer inputs. `global`: the new global model, in a round without training. `local`:
            each client's own model at the end of the last round, as in the authors' program.
        sketched_by: the last round's participants (`sampled`), or `all` clients.
        batch_size: samples per forward pass of a sketch. Affects memory, and which random columns belong to which samples.
        head: whether updates of a shared head are projected (`project`) or not (`free`).
        uncovered: parameters without a basis (of normalisation layers) from the second task on: `freeze` or `train`.
        statistics: running statistics of normalisation layers from the second task on: `freeze` or `track`.
    """

    threshold: Share | list[Share]
    threshold_step: Annotated[float, Field(ge=0)]
    ratio: sketch.Ratio
    at_least_one: bool
    bias: Literal["project", "free"]
    width: Factor | list[Factor]
    distribution: sketch.Distribution
    sketch_on: Literal["global", "local"]
    sketched_by: Asked
    batch_size: Annotated[int, Field(ge=1)]
    head: Literal["project", "free"]
    uncovered: Literal["freeze", "train"]
    statistics: Literal["freeze", "track"]

    def __post_init__(self) -> None:
        if self.sketch_on == "local" and self.sketched_by == "all":
            raise ConfigError(
                "federated.server.sketch_on=local with federated.server.sketched_by=all: only training gives a local model",
                "give federated.server.sketched_by=sampled, or federated.server.sketch_on=global",
            )

    @property
    def riding(self) -> str | None:
        """Sketches of local models come together with the replies of the last round."""
        return SKETCH if self.sketch_on == "local" else None

    @property
    def asked(self) -> Asked:
        """The clients that make sketches."""
        return self.sketched_by

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check that lists have one value per matrix."""
        self.bases: dict[str, Tensor] = {}
        matrices = self._matrices(learner)
        for key in ("threshold", "width"):
            per_layer(f"federated.server.{key}", getattr(self, key), matrices)
        self._subspace_report = SubspaceReport({})
        self._projectors: dict[str, subspace.Projector] = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make the projections of this task; freeze parameters that they cannot cover."""
        self._subspace_report = SubspaceReport(self.bases)
        self._projectors = {
            name: subspace.remove(self.bases[name], matrix.bias is not None)
            for name, matrix in self._matrices(learner).items()
            if name in self.bases and self.bases[name].shape[1] > 0
        }
        weight_matrices.hold(learner, weight_matrices.matrices(learner, self.head == "project"), self.uncovered, self.statistics)

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return `start` plus the mean update without its components in the bases."""
        matrices = self._matrices(learner)
        names = {name for key in self._projectors for name in (matrices[key].weight, matrices[key].bias) if name in mean}
        updates = {name: mean[name] - start[name] for name in names if name}
        with self._subspace_report.watch(matrices, self._projectors, updates):
            weight_matrices.project(updates, matrices, self._projectors)
        return {**mean, **{name: start[name] + update for name, update in updates.items()}}

    def rider(self, learner: Learner) -> Tensors:
        """Return the bases: sketches leave out the inputs' components in them."""
        return dict(self.bases)

    def client_message(self, learner: Learner, task: Task, kind: str, payload: Tensors) -> Tensors:
        """Return a sketch `[d, m]` and energies `[4]` for every matrix, from all samples of the client."""
        matrices = self._matrices(learner)
        widths = per_layer("federated.server.width", self.width, matrices)
        draws = {name: learner.generator("fot", task.index, name, device=learner.device) for name in matrices}
        own = {name: sketch.Sketch(payload.get(name)) for name in matrices}
        for positions in learner.chunks(torch.arange(len(task.train), device=learner.device), self.batch_size):
            for name, rows in weight_matrices.entering(learner, task.train, positions, matrices):
                columns = max(1, round(widths[name] * rows.shape[1]))
                own[name].add(rows, sketch.columns(len(rows), columns, self.distribution, draws[name], rows))
        found: Tensors = {}
        for name, each in own.items():
            assert each.matrix is not None  # a client that is asked owns samples
            found |= {name: each.matrix, name + ENERGIES: each.energies()}
        return found

    def answer_like(self, learner: Learner, kind: str, payload: Tensors) -> Tensors:
        """Return a sketch `[d, m]` and energies `[4]` for every matrix, without values."""
        if kind != SKETCH:
            raise RefusedError(f"FOT does not ask {kind!r}", f"ask {SKETCH!r}")
        matrices = self._matrices(learner)
        widths = per_layer("federated.server.width", self.width, matrices)
        found: Tensors = {}
        for name, matrix in matrices.items():
            weight = matrix.joined(learner.parameters).detach()
            d = weight.shape[1]
            basis = payload.get(name)
            if basis is not None and (basis.dim() != 2 or len(basis) != d or basis.shape[1] > d or basis.dtype != weight.dtype):
                raise RefusedError(f"the basis of {name} is {basis.dtype} {list(basis.shape)}", f"send {weight.dtype} [{d}, k]")
            found[name] = torch.empty(d, max(1, round(widths[name] * d)), dtype=weight.dtype, device="meta")
            found[name + ENERGIES] = torch.empty(4, dtype=torch.float64, device="meta")
        if payload.keys() - matrices.keys():
            raise RefusedError(f"{sorted(payload.keys() - matrices.keys())[:3]} are no matrices of the model", "send bases only")
        return found

    def end_task(self, learner: Learner, task: Task, ask: Ask) -> None:
        """Extend each basis by the leading directions of the summed sketches."""
        matrices = self._matrices(learner)
        thresholds = per_layer("federated.server.threshold", self.threshold, matrices)
        if not any(thresholds.values()):
            return
        sums = ask(SKETCH, self.rider(learner))
        for name, base in thresholds.items():
            threshold = min(1.0, base + self.threshold_step * task.index) if base > 0 else 0.0
            extended = sketch.extend(
                self.bases.get(name), sums[name], sums[name + ENERGIES], threshold, self.ratio, self.at_least_one and base > 0
            )
            self.bases[name] = extended.to(learner.parameters[matrices[name].weight].dtype)

    def diagnostics(self) -> dict[str, Any]:
        """Return for each matrix: directions in the basis, directions in all, directions added, share of the update removed."""
        return self._subspace_report.report(self.bases)

    def _matrices(self, learner: Learner) -> dict[str, weight_matrices.Matrix]:
        """Return the matrices whose updates are projected; without biases if `bias` is `free`."""
        found = weight_matrices.matrices(learner, self.head == "project")
        return found if self.bias == "project" else {name: replace(matrix, bias=None) for name, matrix in found.items()}
