"""The authors' GPM program (sahagobinda/GPM), unchanged, on clbench's permuted images. Prints its cost as one JSON line.

    python authors_gpm.py --clone GPM --tasks 3 --batch 10 --seed 0

Calls their network, training, projection and subspace functions (`main_pmnist.py`) in the order of their `main`. Left out is
only their test on training and validation samples after every epoch: no other step uses its result.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

THRESHOLDS = [0.95, 0.99, 0.99]
"""Of the three layers, main_pmnist.py."""


def load(clone: str, script: str) -> ModuleType:
    """Return a script of the clone as a module. The script imports seaborn for a plot; seaborn may be missing.

    Raises:
        FileNotFoundError: no such file in `clone`.
    """
    path = Path(clone) / script
    if not path.is_file():
        raise FileNotFoundError(f"no {script} in {clone}: give --authors FOLDER, a clone of github.com/sahagobinda/GPM")
    if "seaborn" not in sys.modules and importlib.util.find_spec("seaborn") is None:
        sys.modules["seaborn"] = ModuleType("seaborn")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quietly(function: Any, *arguments: Any) -> Any:
    """Return the result of the function, and suppress its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


def tensors(split: Any, preprocess: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all samples of a split in the form of the program: float32 `[N, 1, 28, 28]`, normalised, and labels."""
    positions = torch.arange(len(split))
    return preprocess(split.inputs(positions)), split.labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clone", required=True)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    program = load(options.clone, "main_pmnist.py")
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    args = SimpleNamespace(batch_size_train=options.batch, batch_size_test=64)
    stream, device = permuted(options.tasks, options.seed), torch.device("cpu")
    train = [tensors(task.train, stream.preprocess) for task in stream.tasks]
    tests = [tensors(each.split, stream.preprocess) for each in stream.evaluation]
    model = program.MLPNet(100, 10)
    criterion = torch.nn.CrossEntropyLoss()
    spent = dict.fromkeys(("train_s", "eval_s", "subspace_s"), 0.0)
    features: list[Any] = []
    accuracy = []
    for task, (x, y) in enumerate(train):
        start = time.perf_counter()
        optimizer = torch.optim.SGD(model.parameters(), lr=options.lr)
        projections = [torch.Tensor(np.dot(basis, basis.transpose())) for basis in features]
        for _ in range(options.epochs):
            if task == 0:
                program.train(args, model, device, x, y, optimizer, criterion)
            else:
                program.train_projected(args, model, device, x, y, optimizer, criterion, projections)
        before = time.perf_counter()
        matrices = quietly(program.get_representation_matrix, model, device, x, y)
        features = quietly(program.update_GPM, model, matrices, THRESHOLDS, features)
        now = time.perf_counter()
        spent["train_s"] += now - start
        spent["subspace_s"] += now - before
        accuracy.append([program.test(args, model, device, *test, criterion)[1] for test in tests])
        spent["eval_s"] += time.perf_counter() - now
    print(json.dumps({**spent, "accuracy": [[round(value, 2) for value in row] for row in accuracy]}))


def permuted(tasks: int, seed: int) -> Any:
    """Return the stream that `clbench_run.py` gets by the overrides of `subspace.py`."""
    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job
    from clbench.runs.run import assemble

    composer = new_composer()
    overrides = ["scenario=permuted_fashion_mnist", f"scenario.n_tasks={tasks}", f"seeds=[{seed}]"]
    (spec,) = make_job(composer(overrides), composer).specs()
    return assemble(spec, torch.device("cpu"))[0]


if __name__ == "__main__":
    main()
