"""One number from the scores of all layers, and from this number the weight of an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.detection.score import _scikit


@dataclass(frozen=True)
class Weighting:
    """The weight as a function of h, the one-class value of an input (authors' program: `weighting_func_gmm`, `obtain_weights`).

    c = 1 - |F(h) - F(2 x0 - h)|. F is the distribution function of an even mixture of two normal distributions. Their means are
    the mean h of fitted samples and of held-out samples; both have the standard deviation of the held-out samples. x0 is the
    middle of the two means. The weight is sigmoid(sharpness * c - offset).

    Args:
        nu: of the linear one-class support vector machine: share of the samples that may lie outside.
        origin: added to the scores of each layer first. The machine separates samples from the origin, but standardised scores
            lie around the origin. With 4, the origin is an input that is four standard deviations less similar at every layer.
        sharpness: see above.
        offset: see above.
        form: `one_sided`: c = 1 on the side of x0 with more similar inputs, and the weight is rescaled to [0, 1]. `authors`: both
            sides are treated equally, then the weight is cut: above .9 to 1.2; at .3 or less, and from .4 to .9, to 0.
    """

    nu: Annotated[float, Field(gt=0, le=1)]
    origin: float
    sharpness: Annotated[float, Field(gt=0)]
    offset: float
    form: Literal["one_sided", "authors"]


@dataclass
class Boundary:
    """The boundary fitted to a request.

    Args:
        normal: h is the sum over layers of normal * score, `[layers]`.
        means: mean of h over fitted samples and over held-out samples, `[2]`.
        spread: standard deviation of h over held-out samples.
    """

    normal: Tensor
    means: Tensor
    spread: Tensor

    def state(self) -> dict[str, Any]:
        """Return all fields."""
        return dict(vars(self))


def boundary(fitted: Tensor, held_out: Tensor, how: Weighting) -> Boundary:
    """Return the boundary around a request.

    Args:
        fitted: scores of the samples from which the reference was computed, `[N, layers]`.
        held_out: scores of held-out samples, `[M, layers]`.
        how: see `Weighting`.
    """
    machine = _scikit().svm.OneClassSVM(kernel="linear", nu=how.nu).fit((fitted + how.origin).double().cpu().numpy())
    normal = torch.tensor(machine.coef_[0]).to(fitted)
    own, other = ((each + how.origin) @ normal for each in (fitted, held_out))
    spread = other.std(correction=0)
    least = torch.finfo(spread.dtype).eps * own.abs().amax().clamp(min=1)
    return Boundary(normal, torch.stack([own.mean(), other.mean()]), spread.clamp(min=least))


def values(scores: Tensor, kept: Boundary, how: Weighting) -> Tensor:
    """Return h `[N]` of scores `[N, layers]`."""
    return (scores + how.origin) @ kept.normal


def alike(h: Tensor, kept: Boundary, how: Weighting) -> Tensor:
    """Return the similarity of inputs with one-class values h to the request's data, in the order of their uncut weights."""
    return h if how.form == "one_sided" else -(h - kept.means.mean()).abs()


def weights(h: Tensor, kept: Boundary, how: Weighting) -> Tensor:
    """Return the weight `[N]` of an adapter for one-class values h `[N]`."""
    middle = kept.means.mean()
    apart = (_mixture(h, kept) - _mixture(2 * middle - h, kept)).abs()
    if how.form == "authors":
        weight = torch.sigmoid(how.sharpness * (1 - apart) - how.offset)
        kept_weight = torch.where((weight > 0.3) & (weight <= 0.4), weight, torch.zeros_like(weight))
        return torch.where(weight > 0.9, torch.full_like(weight, 1.2), kept_weight)
    closeness = torch.where(h >= middle, torch.ones_like(apart), 1 - apart)
    ends = torch.sigmoid(h.new_tensor([-how.offset, how.sharpness - how.offset]))
    weight = torch.sigmoid(how.sharpness * closeness - how.offset)
    return ((weight - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def _mixture(h: Tensor, kept: Boundary) -> Tensor:
    """Return F(h)."""
    below: Tensor = torch.special.ndtr((h.unsqueeze(-1) - kept.means) / kept.spread)
    return below.mean(-1)
