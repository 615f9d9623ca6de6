"""Rotated: every task holds all classes, with its own rotation of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import FiniteFloat
from torch import Tensor

from clbench.data.sources.base import Source
from clbench.errors import ConfigError
from clbench.scenarios.scenario_options import Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.stream_builder import Part, build_stream, load, preprocess_of
from clbench.stream import Stream
from clbench.utils.rng import generator


@dataclass(frozen=True, kw_only=True)
class RotatedOptions(ScenarioOptions):
    """Options of `rotated`; the shared ones are those of `ScenarioOptions`.

    Args:
        dataset: source of the images.
        angles: degrees counter-clockwise, one per task; None: drawn.
        min_angle: lowest angle that is drawn, degrees.
        max_angle: upper bound of the drawn angles, degrees, itself excluded.
        n_tasks: number of angles.
        order_seed: order of the angles. The seed of the run alone draws the angles themselves.
    """

    dataset: Source
    angles: tuple[FiniteFloat, ...] | None
    min_angle: FiniteFloat
    max_angle: FiniteFloat
    n_tasks: Count
    order_seed: OrderSeed


def rotated(options: RotatedOptions, access: DataAccess) -> Stream:
    """Return the stream whose every task shows the whole data set turned by one angle.

    In the class setting each rotated copy has its own classes (`n_tasks * n_classes` outputs). Validation samples are drawn anew
    for each task. Lopez-Paz, Ranzato, NeurIPS 2017 (rotated MNIST); Buzzega et al., NeurIPS 2020 (20 tasks, angles uniform in
    [0, 180)).

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        ConfigError: too few or too many angles, or an empty range.
        RefusedError: inputs that are not images.
        DataError: as the data set raises it.
    """
    degrees = choose_angles(options.angles, options.min_angle, options.max_angle, options.n_tasks, access.seed)
    train, test, n_classes = load(options.dataset, access, images=True)
    height, width = train.inputs.shape[-2:]
    classes = tuple(range(n_classes))
    parts = [
        Part(f"rotation {degrees[i]:.1f}°", classes, rotation(height, width, degrees[i]))
        for i in draw_order(options.order_seed, access.seed, options.n_tasks, "task order")
    ]
    return build_stream(parts, train, test, preprocess_of(options.dataset), options, access)


def choose_angles(angles: Sequence[float] | None, low: float, high: float, n_tasks: int, seed: int) -> list[float]:
    """Return the given angles, or one per task drawn uniformly in `[low, high)` from (seed, "rotation", task).

    Raises:
        ConfigError: too few or too many angles, or an empty range.
    """
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
    """Return the view `[height*width]` that turns an image counter-clockwise about its centre; -1 (zero) outside of the image.

    Nearest neighbour, as torchvision's `rotate` on tensors. The view is made by one such rotation of an image of pixel numbers,
    so both agree in every pixel, ties included.
    """
    from torchvision.transforms.functional import InterpolationMode, rotate

    numbers = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)  # 0 means "outside"
    turned: Tensor = rotate(numbers, degrees, interpolation=InterpolationMode.NEAREST)
    return turned.to(torch.int64).flatten() - 1
