"""Similarity of features to those of the data to forget: a Gaussian and some cluster centres at every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.errors import ConfigError


@dataclass(frozen=True)
class Scoring:
    """Options of a score (authors' program: `get_unsup_Mah_score`).

    A layer's score is gaussian + cosine_weight * cosine. gaussian is -1/2 (z - mean)^T P (z - mean); cosine is that of z with the
    nearest centre. Both are larger for more similar features.

    Args:
        covariance: the estimate whose inverse is P. `shrunk`: Ledoit-Wolf. `empirical`: with its pseudo-inverse, which with fewer
            samples than dimensions ignores all directions that did not occur.
        centres: number of centres, from k-means on the normalised features; None: all features of the data to forget are kept.
        scaled: whether gaussian and cosine are first standardised by their values on held-out samples. Without this the weight
            depends on the number of dimensions.
        cosine_weight: see above.
    """

    covariance: Literal["shrunk", "empirical"]
    centres: Annotated[int, Field(ge=1)] | None
    scaled: bool
    cosine_weight: float


@dataclass
class Reference:
    """Statistics of a request's features; one tensor per layer.

    Args:
        means: `[d]`.
        precisions: P, `[d, d]`.
        centres: normalised, `[k, d]`.
        scale: `[2, 2]`: mean and standard deviation of gaussian and of cosine, to standardise them.
    """

    means: list[Tensor]
    precisions: list[Tensor]
    centres: list[Tensor]
    scale: list[Tensor]

    def state(self) -> dict[str, Any]:
        """Return all fields."""
        return dict(vars(self))


def reference(features: Sequence[Tensor], held_out: Sequence[Tensor], how: Scoring, seed: int) -> Reference:
    """Return the statistics of a request's features.

    Args:
        features: per layer `[N, d]`.
        held_out: the same of held-out samples, `[M, d]`; only `scale` comes from them.
        how: see `Scoring`.
        seed: seed of k-means.
    """
    found = Reference([], [], [], [])
    for own, other in zip(features, held_out, strict=True):
        mean, precision = _gaussian(own, how.covariance)
        found.means.append(mean)
        found.precisions.append(precision)
        found.centres.append(_centres(own, how.centres, seed))
        gaussian = _mahalanobis(other, mean, precision)
        cosine = nearest(other, found.centres[-1])
        found.scale.append(
            torch.stack([_moments(gaussian), _moments(cosine)]) if how.scaled else mean.new_tensor([[0.0, 1.0], [0.0, 1.0]])
        )
    return found


def scores(features: Sequence[Tensor], kept: Reference, how: Scoring) -> Tensor:
    """Return the score of each layer, `[N, layers]`; a larger score is more similar.

    Args:
        features: per layer `[N, d]`.
        kept: statistics of the request.
        how: see `Scoring`.
    """
    columns = []
    for z, mean, precision, centres, scale in zip(features, kept.means, kept.precisions, kept.centres, kept.scale, strict=True):
        gaussian, cosine = _mahalanobis(z, mean, precision), nearest(z, centres)
        standard = [(part - m) / s for part, (m, s) in zip((gaussian, cosine), scale.unbind(), strict=True)]
        total = standard[0] + how.cosine_weight * standard[1]
        columns.append(total / (1 + how.cosine_weight) if how.scaled else total)
    return torch.stack(columns, dim=1)


def nearest(z: Tensor, centres: Tensor) -> Tensor:
    """Return the cosine `[N]` of each row of `z` `[N, d]` with the nearest of `centres` (normalised, `[k, d]`)."""
    return (F.normalize(z, dim=1) @ centres.mT).amax(1)


def _mahalanobis(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Return -1/2 (z - mean)^T P (z - mean), `[N]`."""
    apart = z - mean
    return -0.5 * (apart @ precision * apart).sum(1)


def _moments(values: Tensor) -> Tensor:
    """Return mean and standard deviation `[2]`; the standard deviation is never 0."""
    spread = values.std(correction=0)
    least = torch.finfo(values.dtype).eps * values.abs().amax().clamp(min=1)
    return torch.stack([values.mean(), spread.clamp(min=least)])


def _gaussian(z: Tensor, covariance: str) -> tuple[Tensor, Tensor]:
    estimators = _scikit().covariance
    kind = estimators.LedoitWolf if covariance == "shrunk" else estimators.EmpiricalCovariance
    fitted = kind().fit(z.double().cpu().numpy())
    return z.mean(0), torch.as_tensor(fitted.precision_).to(z)


def _centres(z: Tensor, n: int | None, seed: int) -> Tensor:
    normalised = F.normalize(z, dim=1)
    if n is None or n >= len(z):
        return normalised
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning if there are fewer different samples than centres
        fitted = _scikit().cluster.KMeans(n, n_init=1, random_state=seed).fit(normalised.double().cpu().numpy())
    return F.normalize(torch.as_tensor(fitted.cluster_centers_).to(z), dim=1)


def _scikit() -> Any:
    try:
        import sklearn.cluster
        import sklearn.covariance
        import sklearn.svm
    except ImportError as error:
        raise ConfigError(f"detectors need scikit-learn: {error}", "pip install scikit-learn") from error
    return sklearn
