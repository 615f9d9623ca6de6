"""Rotated: all classes in every task, the images turned by an angle of each task's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clbench.errors import ConfigError
from clbench.scenarios.stream_builder import Options, OrderSeed, Part, assemble, is_number, load, preprocess_of
from clbench.stream import Outputs, Setting, Stream
from clbench.utils.rng import generator

if TYPE_CHECKING:
    from clbench.data.sources.base import Source


def rotated(
    *,
    dataset: Source,
    angles: Sequence[float] | None,
    min_angle: float,
    max_angle: float,
    setting: Setting,
    n_tasks: int,
    outputs: Outputs,
    order_seed: OrderSeed,
    valid_fraction: float,
    online: bool,
    seed: int,
    data_sha256: str,
    search: Sequence[Path],
    download: bool,
    device: torch.device,
) -> Stream:
    """Return the stream whose every task shows the whole data set turned by one angle.

    In the class setting each rotated copy has classes of its own (`n_tasks * n_classes` outputs). Validation is drawn
    anew for each task. Lopez-Paz, Ranzato, NeurIPS 2017 (rotated MNIST); Buzzega et al., NeurIPS 2020 (20 tasks, angles
    uniform in [0, 180)).

    Own keys; the others are those of `clbench.scenarios.split.split`:
        angles: degrees counter-clockwise, one per task; None: drawn.
        min_angle: lowest angle that is drawn, degrees.
        max_angle: bound of the angles that are drawn, degrees, itself excluded.
        n_tasks: number of angles.
        order_seed: order in which the angles come (they are drawn from the trial's seed whatever their order).

    Raises:
        ConfigError: a value that cannot be used.
        RefusedError: inputs that are not images.
        DataError: as the data set raises it.
    """
    options = Options(setting, outputs, n_tasks, order_seed, valid_fraction, seed, data_sha256)
    degrees = choose_angles(angles, min_angle, max_angle, n_tasks, seed)
    train, test, n_classes = load(dataset, search, download, images=True)
    height, width = train.inputs.shape[-2:]
    classes = tuple(range(n_classes))
    parts = [
        Part(f"rotation {degrees[i]:.1f}°", classes, rotation(height, width, degrees[i]))
        for i in options.order(n_tasks, "task order")
    ]
    return assemble(parts, train.to(device), test.to(device), preprocess_of(dataset), options)


def choose_angles(angles: Sequence[float] | None, low: float, high: float, n_tasks: int, seed: int) -> list[float]:
    """Return the given angles, or one per task drawn uniformly in `[low, high)` from (seed, "rotation", task).

    Raises:
        ConfigError: something that is not a number, too few or too many angles, an empty range.
    """
    for value in (low, high, *(angles or ())):
        if not is_number(value):
            raise ConfigError(
                f"an angle of the scenario is {value!r}, which is not a number of degrees",
                "give numbers for scenario.angles, scenario.min_angle and scenario.max_angle",
            )
    if angles is not None:
        if len(angles) != n_tasks:
            raise ConfigError(
                f"scenario.angles holds {len(angles)} angles for scenario.n_tasks={n_tasks}",
                f"set scenario.n_tasks={max(len(angles), 1)}, or give one angle per task",
            )
        return [float(angle) for angle in angles]
    if low >= high:
        raise ConfigError(f"scenario.min_angle={low} is not below scenario.max_angle={high}", "give a range, or scenario.angles")
    draws = [generator(seed, "rotation", task) for task in range(n_tasks)]
    return [low + (high - low) * torch.rand((), generator=draw, dtype=torch.float64).item() for draw in draws]


def rotation(height: int, width: int, degrees: float) -> Tensor:
    """Return the view `[height*width]` that turns an image counter-clockwise about its centre; -1 (zero) outside of it.

    Nearest neighbour, as torchvision's `rotate` on tensors: an image of pixel numbers is rotated by it once, so that
    both agree in every pixel, ties included.
    """
    from torchvision.transforms.functional import InterpolationMode, rotate

    numbers = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)  # 0 is left for "outside"
    turned: Tensor = rotate(numbers, degrees, interpolation=InterpolationMode.NEAREST)
    return turned.to(torch.int64).flatten() - 1
