"""Cost of a training step of a method for large networks, relative to its base method, after several tasks.

    python benchmarks/llm_step.py --repeats 15
    python benchmarks/llm_step.py --pairs olora/seq_lora --models encoder --tasks 5,15 --clock cpu
    python benchmarks/llm_step.py --device cuda --precision bf16 --batch 32

Both methods of a pair train the same network in this process. The network is made from its configuration, without downloads.
Each method learns all tasks but the last in a few steps, so that it has its state of earlier tasks. Then both take turns on one
batch of the last task, some steps each. A ratio is formed within a round; the table shows the median over rounds, the smallest
and the largest. Prints Markdown; exit status 1 if a pair's median is above its goal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import numbers, spread, table, words
from torch import Tensor, nn

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.data.pool import Pool
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Training
from clbench.instantiate import instantiate
from clbench.models.classifier import Classifier
from clbench.scenarios.scenario_options import DataAccess
from clbench.scenarios.split import SplitOptions, split
from clbench.stream import Stream

VOCABULARY = 1000
"""Embeddings stand still or are a small part of the step; how many there are hardly matters."""
EARLIER_STEPS = 1
"""Steps on every task before the last one."""


@dataclass(frozen=True)
class Pair:
    """A method and its base method.

    Args:
        above: method, overrides.
        below: likewise.
        goal: the ratio should stay below this.
    """

    above: tuple[str, ...]
    below: tuple[str, ...]
    goal: float


PAIRS = {
    "olora/seq_lora": Pair(("olora",), ("seq_lora",), 1.25),
    "olora apart/seq_lora": Pair(("olora", "method.past=apart"), ("seq_lora",), 1.25),
    "osft/naive": Pair(("osft", "method.schedule=fixed", "method.fraction=0.5"), ("naive",), 1.5),
    "osft tenth/naive": Pair(("osft", "method.schedule=fixed", "method.fraction=0.1"), ("naive",), 1.5),
}
"""By what is written after --pairs; the right one of each is a plain step."""


class Pooled(nn.Module):
    """A transformer as a backbone: the mean of its last hidden states over positions."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features `[B, d]` of tokens `[B, L]`."""
        hidden: Tensor = self.transformer(tokens.long()).last_hidden_state
        return hidden.mean(1)


def encoder() -> nn.Module:
    """An encoder of MiniLM's size: 6 layers of width 384."""
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    return BertModel(BertConfig(vocab_size=VOCABULARY, **sizes), add_pooling_layer=False)


def decoder() -> nn.Module:
    """A decoder with LLaMA's architecture: 6 layers of width 512."""
    from transformers import LlamaConfig, LlamaModel

    sizes = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1376}
    return LlamaModel(LlamaConfig(vocab_size=VOCABULARY, use_cache=False, **sizes))


MODELS: dict[str, Callable[[], nn.Module]] = {"encoder": encoder, "decoder": decoder}


@dataclass
class Tokens:
    """Random tokens, two classes for each task."""

    tasks: int
    length: int
    per_class: int
    name: str = "tokens"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    n_classes: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_classes = 2 * self.tasks

    def load(self, search: Any, download: bool) -> Any:
        """Return the pools, as a data set does."""
        draws = torch.Generator().manual_seed(0)
        targets = torch.arange(self.n_classes).repeat_interleave(self.per_class)
        inputs = torch.randint(0, VOCABULARY, (len(targets), self.length), generator=draws)
        return SimpleNamespace(train=Pool(inputs, targets), test=Pool(inputs, targets))


def stream_of(tasks: int, length: int, batch: int, device: torch.device) -> Stream:
    """Return a stream with heads. Every task has one batch of samples."""
    data: Any = Tokens(tasks, length, (batch + 1) // 2)
    plain: dict[str, Any] = {"outputs": "seen", "valid_fraction": 0.0, "online": False, "order_seed": None}
    options = SplitOptions(setting="task", dataset=data, n_tasks=tasks, **plain)
    return split(options, DataAccess(0, "", list[Path](), device=device))


def at_last_task(
    method: tuple[str, ...], model: str, stream: Stream, batch: int, precision: str, device: torch.device
) -> Callable[[], Tensor]:
    """Return a function that takes a step of `method` on the last task of the stream."""
    composer = new_composer()
    options = [f"method={method[0]}", *method[1:], "optimizer=adamw", "optimizer.lr=0.0001", f"trainer.precision={precision}"]
    (spec,) = make_job(composer([*options, f"trainer.batch_size={batch}", f"trainer.epochs={EARLIER_STEPS}"]), composer).specs()

    def initial() -> Classifier:
        torch.manual_seed(0)
        return Classifier(Pooled(MODELS[model]()), stream.head_sizes, stream.input_shape)

    made, optimizer, trainer = (instantiate(spec.config[node], node) for node in ("method", "optimizer", "trainer"))
    learner = Learner(stream, initial, optimizer, device, 0)
    made.setup(learner, stream)
    training = Training(learner, made, trainer)
    for task in stream.tasks[:-1]:
        training.learn(task)
    last = stream.tasks[-1]
    training.begin(last)
    learner.train()
    drawn = learner.batch(last.train, torch.arange(batch, device=device))
    return lambda: training.step(drawn)


def seconds(step: Callable[[], Tensor], count: int, device: torch.device, clock: Callable[[], float]) -> float:
    """Return the seconds that `count` steps take."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def measure(
    pair: Pair, model: str, tasks: int, args: argparse.Namespace, device: torch.device
) -> tuple[list[float], list[float]]:
    """Return ratios, and milliseconds of a step of the method below, of all rounds."""
    stream = stream_of(tasks, args.length, args.batch, device)
    sides = [at_last_task(side, model, stream, args.batch, args.precision, device) for side in (pair.above, pair.below)]
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    for side in sides:
        seconds(side, 1, device, clock)
    ratios, below = [], []
    for turn in range(args.repeats):
        order = (0, 1) if turn % 2 == 0 else (1, 0)  # nobody is always first
        took = {i: seconds(sides[i], args.steps, device, clock) for i in order}
        ratios.append(took[0] / took[1])
        below.append(1000 * took[1] / args.steps)
    return ratios, below


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=words, default=list(PAIRS), help=f"of {', '.join(PAIRS)}")
    parser.add_argument("--models", type=words, default=list(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--tasks", type=numbers, default=[5], help="tasks of the stream, the last of which is timed")
    parser.add_argument("--batch", type=int, default=8, help="samples")
    parser.add_argument("--length", type=int, default=128, help="tokens of each")
    parser.add_argument("--repeats", type=int, default=15, help="rounds")
    parser.add_argument("--steps", type=int, default=1, help="of each method in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu leaves out waiting for a core: for a machine that others use",
    )
    parser.add_argument("--precision", default="float32", help="as trainer.precision")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    lines, met = [], True
    for name in args.pairs:
        for model in args.models:
            for tasks in args.tasks:
                ratios, below = measure(PAIRS[name], model, tasks, args, device)
                goal = PAIRS[name].goal
                met = met and statistics.median(ratios) <= goal
                lines.append([name, model, str(tasks), f"{statistics.median(below):.1f}", spread(ratios), f"{goal:g}"])
    header = ["methods", "model", "task", "ms/step of the second", "first over second", "goal"]
    print(table(header, lines) + f"\n\n{args.batch} x {args.length} tokens, {args.precision}, {args.threads} threads, {device}.")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
