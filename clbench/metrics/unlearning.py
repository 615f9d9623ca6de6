"""Metrics of unlearning: pure functions of what records hold, each with its definition, source and direction.

A result with requests to forget holds a row of the matrix after each of them (`events`, kind `request`), columns with the roles
`forget_train`, `forget_test` (each of one request), `retain`, `utility`, and losses of single samples (`diagnostics`). Values
are in percent unless said otherwise, None where they are undefined. Two goals are told apart (`goal`): `suppress` wants chance
level on the forgotten; `retrain` wants what the same training without the forgotten samples gives, and only under it are there
gaps to a reference. *Good* says which direction is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]

OVERALL = (
    *("acc", "forget_acc", "forget_train_acc", "utility_acc", "revival", "relearning", "membership_auc", "failure_rate"),
    *("detection_auc",),
)
"""Metrics of one result by itself."""
GAPS = ("forget_gap", "forget_train_gap", "retain_gap", "utility_gap", "relearning_gap", "membership_gap", "retrain_distance")
"""Metrics of one result beside that of retraining, for the goal `retrain`."""


def goal(result: Result) -> str | None:
    """Return `suppress` or `retrain`; None for a stream without requests."""
    about = result.get("unlearning")
    return None if about is None else str(about["goal"])


def claims(result: Result) -> bool:
    """Return whether the model knew enough of what it was asked to forget for anything to be concluded."""
    return any(isinstance(each, dict) and each.get("conclusion", {}).get("claim") for each in result["diagnostics"])


def retained(result: Result, after: int | None = None) -> float | None:
    """Accuracy on the test samples of all that no request has named so far: the role `retain`, and later requests' own.

    Good: high. R.D. of O3 (Gao et al., ICLR 2025) after the last request.

    Args:
        result: of a trial.
        after: index of the request; None: the last one.
    """
    requests = result["unlearning"]["requests"]
    at = requests[-1] if after is None else after
    later = [request for request in requests if request > at]
    columns = _columns(result, "retain") + [c for request in later for c in _columns(result, "forget_test", request)]
    return _pooled(_row(result, at), columns)


def forgotten(result: Result, role: str, request: int | None = None, after: int | None = None) -> float | None:
    """Accuracy on what was asked to be forgotten: of one request, or the mean over requests that have such a set.

    Good: chance level under `suppress`; that of retraining under `retrain`. `forget_train`: S.U., `forget_test`: D.U. of O3.

    Args:
        result: of a trial.
        role: `forget_train` or `forget_test`.
        request: its index; None: all.
        after: measured after this request; None: after the last.
    """
    row = _row(result, result["unlearning"]["requests"][-1] if after is None else after)
    wanted = result["unlearning"]["requests"] if request is None else [request]
    return _mean([_pooled(row, columns) for each in wanted if (columns := _columns(result, role, each))])


def utility(result: Result) -> float | None:
    """Accuracy on unrelated sets after the last request, their mean. Good: high. U.1, U.2 of O3; None without such sets."""
    row = _row(result, result["unlearning"]["requests"][-1])
    return _mean([_pooled(row, [column]) for column in _columns(result, "utility")])


def revival(result: Result) -> float | None:
    """How far earlier requests come back: mean over all but the last of (highest accuracy later on - that after it was met).

    On a request's test set or, where it has none, its own samples. Good: low; 0 or less: nothing came back. Ours; the counterpart
    of forgetting. None for a single request.
    """
    requests = result["unlearning"]["requests"]
    found = []
    for place, request in enumerate(requests[:-1]):
        columns = _columns(result, "forget_test", request) or _columns(result, "forget_train", request)
        values = [_pooled(_row(result, after), columns) for after in requests[place:]]
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            return None
        found.append(max(present[1:]) - present[0])
    return _mean(found)


def relearning(result: Result) -> float | None:
    """Mean accuracy on the forgotten while everything is learned again: over requests, and over steps 1, 2, 4, ... .

    Good: low under `suppress`; that of retraining under `retrain` (the idea of the Anamnesis index, Chundawat et al., TIFS 2023:
    a model that relearns faster than a retrained one had not forgotten). The area under the curve in the place of a step count,
    which has no value where a level is never reached. None where `scenario.relearn_steps` is 0.
    """
    told = _last(result, "relearning")
    if told is None:
        return None
    return _mean([100 * value for step, row in zip(told["steps"], told["accuracy"]) if step for value in row])


def membership_auc(result: Result) -> float | None:
    """How well the loss tells a request's samples from test samples of the same labels: area under the ROC curve.

    The mean over requests, in percent; a lower loss counts as a sign of membership (Yeom et al., CSF 2018). 50: it tells
    nothing, as of a model that never met them. Good: near 50 or, under `retrain`, that of retraining; far below 50 the samples
    stand out by being unlearned.
    """
    pairs = [(each["members"], each["others"]) for each in _losses(result)]
    return _mean([100 * auc(members, others) for members, others in pairs if members and others])


def failure_rate(result: Result) -> float | None:
    """Share of answers on forgotten sets that are none of the label words: broken output, which lowers accuracy for nothing.

    Good: low. None where samples have labels or answers are free text.
    """
    row = _row(result, result["unlearning"]["requests"][-1])
    places = [i for i, c in enumerate(result["columns"]) if c["metric"] == "format" and c["role"].startswith("forget")]
    proper = _pooled(row, places)
    return None if proper is None else 100 - proper


def detection_auc(result: Result) -> float | None:
    """How well a method tells what was to be forgotten from retained test samples: area under the ROC curve of its own measure.

    The mean over requests, in percent, 50 is a guess. Good: high. AUROC of O3's detectors (Gao et al., ICLR 2025); None for
    methods that tell nothing apart. What it is against unrelated samples stands in the record's diagnostics.
    """
    told = _last(result, "detection")
    return None if told is None else _mean([100 * each["retain"] for each in told])


def retrain_distance(result: Result, reference: Result) -> float | None:
    """Kolmogorov-Smirnov statistic between losses on the forgotten samples, of a model and of the retrained one.

    The largest difference of the two distribution functions, 0 to 1; mean over requests. Good: low. Forget quality of TOFU (Maini
    et al., COLM 2024) is the p-value of this test on truth ratios; the statistic is kept since a p-value also depends on how many
    samples there are.
    """
    theirs = {each["request"]: each["members"] for each in _losses(reference)}
    pairs = [(each["members"], theirs.get(each["request"])) for each in _losses(result)]
    return _mean([ks_statistic(ours, other) for ours, other in pairs if ours and other])


def overall(result: Result) -> dict[str, float | None]:
    """Return the metrics `OVERALL` of one result with requests."""
    return {
        "acc": retained(result),
        "forget_acc": forgotten(result, "forget_test"),
        "forget_train_acc": forgotten(result, "forget_train"),
        "utility_acc": utility(result),
        "revival": revival(result),
        "relearning": relearning(result),
        "membership_auc": membership_auc(result),
        "failure_rate": failure_rate(result),
        "detection_auc": detection_auc(result),
    }


def gaps(result: Result, reference: Result) -> dict[str, float | None]:
    """Return the metrics `GAPS`: differences in percentage points, ours minus retraining's, and `retrain_distance`.

    Good: near 0, for all of them.

    Args:
        result: of the goal `retrain`.
        reference: of retraining, on the same stream with the same seed.
    """
    ours, theirs = overall(result), overall(reference)
    pairs = {
        "forget_gap": "forget_acc",
        "forget_train_gap": "forget_train_acc",
        "retain_gap": "acc",
        "utility_gap": "utility_acc",
        "relearning_gap": "relearning",
        "membership_gap": "membership_auc",
    }
    found = {gap: _minus(ours[key], theirs[key]) for gap, key in pairs.items()}
    return found | {"retrain_distance": retrain_distance(result, reference)}


def auc(members: Sequence[float], others: Sequence[float]) -> float:
    """Return the share of pairs in which the member's loss is the lower one; equal ones count half. 0 to 1."""
    ranked = sorted(others)
    above = [len(ranked) - bisect_right(ranked, loss) for loss in members]
    equal = [bisect_right(ranked, loss) - bisect_left(ranked, loss) for loss in members]
    return (sum(above) + sum(equal) / 2) / (len(members) * len(others))


def ks_statistic(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic: the largest distance of the empirical distribution functions."""
    a, b = sorted(left), sorted(right)
    return max(abs(bisect_right(a, x) / len(a) - bisect_right(b, x) / len(b)) for x in [*a, *b])


def _losses(result: Result) -> list[dict[str, Any]]:
    """Return the losses of all requests after the last one."""
    found: list[dict[str, Any]] = _last(result, "losses") or []
    return found


def _last(result: Result, key: str) -> Any:
    """Return what the diagnostics of the last event that has `key` hold under it; None without one."""
    return next((each[key] for each in reversed(result["diagnostics"]) if isinstance(each, dict) and key in each), None)


def _row(result: Result, after: int) -> Sequence[Any]:
    """Return the row of the matrix after a request."""
    rows = zip(result["events"], result["matrix"])
    found: Sequence[Any] = next(row for event, row in rows if event["kind"] == "request" and event["task"] == after)
    return found


def _columns(result: Result, role: str, request: int | None = None) -> list[int]:
    """Return the places of columns with a role, and of a request."""
    return [
        place
        for place, column in enumerate(result["columns"])
        if column["role"] == role and column["metric"] not in ("format", "loss") and column.get("request") == request
    ]


def _pooled(row: Sequence[Any], places: Sequence[int]) -> float | None:
    """Return the share of right answers, in percent, over the samples of several columns together."""
    total = sum(row[place][1] for place in places)
    return 100 * sum(row[place][0] for place in places) / total if total else None


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None
