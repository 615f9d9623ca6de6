"""OSFT beside PEFT's OSF and the authors' projection: same network, same batches, permuted digits. Prints one table.

    python benchmarks/osft_rules.py                                        # SGD and AdamW, heads shared and per task
    python benchmarks/osft_rules.py --fractions 0.8 --seeds 3 --settings domain

`naive`: plain fine-tuning. `osft`: `clbench.methods.osft`, which projects the step. `authors`: the same by the rule of the
authors' later program (Red-Hat-AI-Innovation-Team/mini_trainer, `osft_utils.py`): gradients are projected before the optimiser,
and parameters after it. `peft`: the layers of PEFT's OSF, whose hooks project the gradients only. All three retain the same
ranks, train the same parameters, and decompose the weights anew at every task. `head_frozen`: `osft` with a head that only the
first task trains.

Columns: accuracy, forgetting, learning accuracy, in percent, mean ± half width of the 95 % interval. `held`: for each hidden
layer, the share of the energy of task 0's inputs in the retained right singular vectors at task 1. `chance`: the same for a
random subspace of that rank. PEFT is in the extra `llm`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from clbench import subspace
from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Training
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.methods.osft import OSFT
from clbench.metrics.matrix import forgetting, learning_accuracy
from clbench.metrics.statistics import interval
from clbench.runs.factory import assemble
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.svd_linear import put

OPTIMIZERS = {"sgd": ["optimizer.lr=0.05"], "adamw": ["optimizer=adamw", "optimizer.lr=1e-3"]}
EPOCHS = 10


class Authors(OSFT):
    """Gradients are projected before the optimiser; the step is projected, too, which keeps the parameters orthogonal."""

    def edit_gradients(self, learner: Learner, batch: Any) -> None:
        """Project the gradients of U_low and V_low."""
        for name, layer in self._svd_layers.items():
            subspace.keep_off(learner.gradients[f"backbone.{name}.U_low"], layer.U_high)
            subspace.keep_off(learner.gradients[f"backbone.{name}.V_low"].mT, layer.V_high.mT)


class HeadFrozen(OSFT):
    """As OSFT, but a head never changes after the first task."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Freeze the heads from the second task on."""
        super().begin_task(learner, task)
        if task.index > 0:
            learner.model.heads.requires_grad_(False)
            learner.rebuild()


class Peft(OSFT):
    """PEFT's own layers in the place of ours, by the same ranks."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Wrap the layers."""
        from peft import OSFConfig
        from peft.tuners.osf.layer import Linear

        self._wrapped: dict[str, Any] = {}
        self._ranks, self._importance, self._removed = {}, {}, {}
        if task.index >= self.from_task:
            for name, module in self._chosen(learner).items():
                k = self.rank(task.index, len(learner.stream), tuple(module.get_parameter("weight").shape))
                module.get_parameter("weight").requires_grad_(False)
                self._wrapped[name] = Linear(module, "default", OSFConfig(effective_rank=k), effective_rank=k)
                put(learner.model.backbone, name, self._wrapped[name])
        learner.rebuild()

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Leave the step alone: PEFT's hooks have projected the gradient."""

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Merge, and unwrap."""
        for name, layer in self._wrapped.items():
            layer.merge()
            layer.base_layer.weight.requires_grad_(True)
            put(learner.model.backbone, name, layer.base_layer)
        learner.rebuild()


def make(kind: str, node: dict[str, Any], fraction: float) -> Method:
    """Return the method of a row."""
    if kind == "naive":
        return Naive()
    classes: dict[str, type[OSFT]] = {"osft": OSFT, "authors": Authors, "peft": Peft, "head_frozen": HeadFrozen}
    shipped = instantiate(node | {"schedule": "fixed", "fraction": fraction}, "method")
    return classes[kind](**{field.name: getattr(shipped, field.name) for field in fields(shipped)})


def held(learner: Learner, stream: Stream, fraction: float) -> list[tuple[float, float]]:
    """Return for each hidden layer the share of energy in the leading singular vectors, and the rank over the width."""
    found = []
    task = stream.tasks[0]
    wanted = {
        name: matrix for name, matrix in weight_matrices.matrices(learner).items() if name.startswith("backbone.") and matrix.bias
    }
    for name, rows in weight_matrices.entering(learner, task.train, torch.arange(len(task.train)), wanted):
        weight, inputs = learner.parameters[name].detach(), rows[:, :-1]
        k = int(min(weight.shape) * fraction + 1e-9)
        right = subspace.decompose(weight, k).high[2]
        found.append((float((inputs @ right.mT).square().sum() / inputs.square().sum()), k / weight.shape[1]))
    return found


def run(kind: str, overrides: list[str], fraction: float, seeds: int) -> dict[str, Any]:
    """Train all seeds of a row and return its metrics."""
    composer = new_composer()
    job = make_job(composer(["method=osft", "scenario=permuted_digits", f"seeds={seeds}", *overrides]), composer)
    rows: list[tuple[float, float, float]] = []
    shares: list[list[tuple[float, float]]] = []
    for spec in job.specs():
        stream, _, learner, _ = assemble(spec, torch.device("cpu"))
        method = make(kind, spec.config["method"], fraction)
        method.setup(learner, stream)
        training = Training(learner, method, instantiate(spec.config["trainer"], "trainer"))
        training.project_no_inputs()
        matrix = []
        for task in stream.tasks:
            training.learn(task)
            if task.index == 0:
                shares.append(held(learner, stream, fraction))
            matrix.append([hits / n for hits, n in evaluate(learner, method, stream.evaluation, 1000)])
        last = matrix[-1]
        values = sum(last) / len(last), forgetting(matrix), learning_accuracy(matrix)
        rows.append(tuple(100 * value for value in values if value is not None))  # type: ignore[arg-type]
    layers = [[sum(seed[i][j] for seed in shares) / len(shares) for j in (0, 1)] for i in range(len(shares[0]))]
    return {"values": [interval(list(column)) for column in zip(*rows, strict=True)], "layers": layers}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fractions", default="0.1,0.25,0.5,0.8", help="retained shares of the ranks")
    parser.add_argument("--settings", default="domain,task", help="domain: one shared head; task: a head per task")
    parser.add_argument("--optimizers", default="sgd,adamw")
    parser.add_argument("--kinds", default="naive,osft,authors,peft")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| optimizer | setting | retained | rule | accuracy | forgetting | learning accuracy | held (chance) |")
    print("|---|---|---:|---|---:|---:|---:|---|")
    for optimizer in options.optimizers.split(","):
        for setting in options.settings.split(","):
            overrides = [*OPTIMIZERS[optimizer], f"scenario.setting={setting}", f"trainer.epochs={EPOCHS}"]
            for fraction in map(float, options.fractions.split(",")):
                for kind in options.kinds.split(","):
                    found = run(kind, overrides, fraction, options.seeds)
                    cells = [f"{each.mean:.1f} ± {each.half_width or 0:.1f}" for each in found["values"]]
                    energy = "; ".join(f"{100 * share:.0f} ({100 * chance:.0f})" for share, chance in found["layers"])
                    print(f"| {optimizer} | {setting} | {fraction:g} | {kind} | {' | '.join(cells)} | {energy} |", flush=True)


if __name__ == "__main__":
    main()
