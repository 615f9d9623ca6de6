"""Small streams and learners for tests of the engine and the methods; data made on the spot, no files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch

from clbench.data.pool import Pool
from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.schedules import Constant
from clbench.engine.training.loop import Trainer, Training
from clbench.method import Method
from clbench.models import build_model
from clbench.scenarios.scenario_options import DataAccess, make_stream
from clbench.stream import Stream


@dataclass
class Blobs:
    """Six classes of noisy uint8 images, 4x4 unless told otherwise, each around its own pattern."""

    name: str = "blobs"
    n_classes: int = 6
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    crop: int = 0
    flip: bool = False
    image: bool = True
    per_class: int = 40
    shape: tuple[int, int, int] = (1, 4, 4)

    def load(self, search: Any, download: bool) -> Any:
        g = torch.Generator().manual_seed(7)
        patterns = torch.randint(0, 200, (self.n_classes, *self.shape), generator=g)

        def pool(n: int) -> Pool:
            targets = torch.arange(self.n_classes).repeat_interleave(n)
            noise = torch.randint(0, 56, (len(targets), *self.shape), generator=g)
            return Pool((patterns[targets] + noise).to(torch.uint8), targets)

        return SimpleNamespace(train=pool(self.per_class), test=pool(20))


def stream_from(kind: str, **values: Any) -> Stream:
    """Return the stream of a scenario from the values of its node; those that all nodes have in common have a default here."""
    common = {"setting": "class", "outputs": "seen", "order_seed": None, "valid_fraction": 0.0, "online": False}
    own = {key: values.pop(key) for key in ("seed", "data_sha256", "search", "download") if key in values}
    access = DataAccess(**({"seed": 0, "data_sha256": "blobs", "search": []} | own))
    node = {"_target_": f"clbench.scenarios.{kind}.{kind}"} | common | values
    return make_stream(node, access)


def blob_stream(setting: str = "class", outputs: str = "seen", kind: str = "split", n_tasks: int = 3, **options: Any) -> Stream:
    own = {} if kind == "split" else {"first_identity": True}
    return stream_from(kind, setting=setting, outputs=outputs, n_tasks=n_tasks, **({"dataset": Blobs()} | own | options))


def doubled(stream: Stream) -> Stream:
    """Return the stream as it is, but preprocessed to float64."""
    pools: dict[int, Pool] = {}

    def pool(p: Pool) -> Pool:
        if id(p) not in pools:
            pools[id(p)] = replace(p, inputs=(p.inputs.double() / 255 - 0.5) / 0.25)
        return pools[id(p)]

    tasks = tuple(replace(t, train=replace(t.train, pool=pool(t.train.pool))) for t in stream.tasks)
    columns = tuple(replace(c, split=replace(c.split, pool=pool(c.split.pool))) for c in stream.evaluation)
    return replace(stream, tasks=tasks, evaluation=columns, preprocess=replace(stream.preprocess, mean=(), std=()))


def learner_for(
    stream: Stream, seed: int = 0, optimizer: Any = None, hidden: tuple[int, ...] = (16,), bias: bool = True, **node: Any
) -> Learner:
    model = {
        "_target_": "clbench.models.mlp.MLP",
        "hidden": list(hidden),
        "bias": bias,
        "dropout": 0.0,
        "head": {"bias": bias},
    } | node
    return Learner(stream, lambda: build_model(model, stream, seed), optimizer or SGD(0.05), torch.device("cpu"), seed)


def trainer(
    epochs: int = 2, batch_size: int = 16, schedule: Any = None, clip_norm: float | None = None, **options: Any
) -> Trainer:
    return Trainer(epochs, batch_size, 10, schedule or Constant(), clip_norm, **options)


def learn(
    method: Method,
    stream: Stream,
    learner: Learner | None = None,
    tasks: int | None = None,
    how: Trainer | None = None,
    after: Any = None,
) -> tuple[Learner, list[list[int]]]:
    """Learn the first `tasks` tasks; return the learner and the correct counts after each. `after(task, learner)` is a probe."""
    learner = learner or learner_for(stream)
    method.setup(learner, stream)
    training = Training(learner, method, how or trainer())
    rows = []
    for task in stream.tasks[:tasks]:
        training.learn(task)
        rows.append([hit for hit, _ in evaluate(learner, method, stream.evaluation, 64)])
        if after is not None:
            after(task, learner)
    return learner, rows


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
