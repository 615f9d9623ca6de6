"""Metrics of unlearning: pure functions of a record's result, each with its definition, source and good direction.

A result with requests to forget has one matrix row after each request (`events`, kind `request`). Its columns have the roles
`forget_train` and `forget_test` (each of one request), `retain` and `utility`. `diagnostics` holds losses of single samples.
Values are in percent unless the docstring gives another unit; None if undefined. There are two goals (`goal`). `suppress`: chance
level on the forgotten data. `retrain`: the result of the same training without the forgotten samples. Only `retrain` has gaps to
a reference. *Good* gives the good direction of a metric.
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
"""Metrics that need one result only."""
GAPS = ("forget_gap", "forget_train_gap", "retain_gap", "utility_gap", "relearning_gap", "membership_gap", "retrain_distance")
"""Metrics that compare a result with the result of retraining, for the goal `retrain`."""


def goal(result: Result) -> str | None:
    """Return `suppress` or `retrain`; None for a stream without requests to forget."""
    about = result.get("unlearning")
    return None if about is None else str(about["goal"])


def claims(result: Result) -> bool:
    """Return whether the model knew the data to forget well enough: only then is forgetting reported."""
    conclusions = [each.get("conclusion") for each in result["diagnostics"] if isinstance(each, dict)]
    return any(isinstance(each, dict) and bool(each.get("claim")) for each in conclusions)


def retained(result: Result, after: int | None = None) -> float | None:
    """Accuracy on retained test samples: the role `retain`, and the test samples of later requests.

    Good: high. After the last request this is R.D. of O3 (Gao et al., ICLR 2025).

    Args:
        result: of a run.
        after: index of the request after which accuracy was measured; None: the last one.
    """
    requests = result["unlearning"]["requests"]
    at = requests[-1] if after is None else after
    later = [request for request in requests if request > at]
    columns = _columns(result, "retain") + [c for request in later for c in _columns(result, "forget_test", request)]
    return _pooled(_row(result, at), columns)


def forgotten(result: Result, role: str, request: int | None = None, after: int | None = None) -> float | None:
    """Accuracy on the data to forget: of one request, or the mean over the requests that have such a set.

    Good: chance level for `suppress`; the value of retraining for `retrain`. O3 calls it S.U. for `forget_train` and D.U. for
    `forget_test`.

    Args:
        result: of a run.
        role: `forget_train` or `forget_test`.
        request: index of the request whose data is meant; None: all requests.
        after: index of the request after which accuracy was measured; None: the last one.
    """
    row = _row(result, result["unlearning"]["requests"][-1] if after is None else after)
    wanted = result["unlearning"]["requests"] if request is None else [request]
    return _mean([_pooled(row, columns) for each in wanted if (columns := _columns(result, role, each))])


def utility(result: Result) -> float | None:
    """Mean accuracy on unrelated sets after the last request. Good: high. U.1 and U.2 of O3. None without such sets."""
    row = _row(result, result["unlearning"]["requests"][-1])
    return _mean([_pooled(row, [column]) for column in _columns(result, "utility")])


def revival(result: Result) -> float | None:
    """Return of forgotten data: mean over requests but the last of (highest later accuracy - accuracy right after the request).

    Measured on the request's test set; without one, on its training samples. Good: low; 0 or less: nothing came back. This
    suite's own metric, the counterpart of forgetting. None for a single request.
    """
    requests = result["unlearning"]["requests"]
    found = []
    for position, request in enumerate(requests[:-1]):
        columns = _columns(result, "forget_test", request) or _columns(result, "forget_train", request)
        values = [_pooled(_row(result, after), columns) for after in requests[position:]]
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            return None
        found.append(max(present[1:]) - present[0])
    return _mean(found)


def relearning(result: Result) -> float | None:
    """Mean accuracy on the forgotten data while all data is learned again: over requests, and over steps 1, 2, 4, ... .

    Good: low for `suppress`; the value of retraining for `retrain`. The idea is that of the Anamnesis index (Chundawat et al.,
    TIFS 2023): a model that relearns faster than a retrained one had not forgotten. That index counts steps to a level, and has
    no value if the level is never reached. So this metric takes the area under the curve. None if `scenario.relearn_steps` is 0.
    """
    curves = _last(result, "relearning")
    if curves is None:
        return None
    return _mean([100 * value for step, row in zip(curves["steps"], curves["accuracy"]) if step for value in row])


def membership_auc(result: Result) -> float | None:
    """Membership inference: area under the ROC curve of the loss, of a request's samples against test samples of the same labels.

    Mean over requests, in percent. A lower loss counts as a sign of membership (Yeom et al., CSF 2018). 50: the loss gives no
    sign, as for a model that never saw the samples. Good: near 50; for `retrain`, near the value of retraining. Far below 50 the
    samples stand out because they were unlearned.
    """
    pairs = [(each["members"], each["others"]) for each in _losses(result)]
    return _mean([100 * auc(members, others) for members, others in pairs if members and others])


def failure_rate(result: Result) -> float | None:
    """Share of answers on forgotten sets that are not one of the label words.

    Such broken output lowers the accuracy without any unlearning. Good: low. None if samples have labels or free-text answers.
    """
    row = _row(result, result["unlearning"]["requests"][-1])
    columns = [i for i, c in enumerate(result["columns"]) if c["metric"] == "format" and c["role"].startswith("forget")]
    proper = _pooled(row, columns)
    return None if proper is None else 100 - proper


def detection_auc(result: Result) -> float | None:
    """Area under the ROC curve of a method's own score, of the data to forget against retained test samples.

    Mean over requests, in percent; 50 is a guess. Good: high. AUROC of O3's detectors (Gao et al., ICLR 2025). None for methods
    without such a score. The record's diagnostics hold the value against unrelated samples.
    """
    detection = _last(result, "detection")
    return None if detection is None else _mean([100 * each["retain"] for each in detection])


def retrain_distance(result: Result, reference: Result) -> float | None:
    """Kolmogorov-Smirnov statistic between the losses of a model and of the retrained model on the forgotten samples.

    The largest difference of the two distribution functions, 0 to 1; mean over requests. Good: low. Forget quality of TOFU (Maini
    et al., COLM 2024) is the p-value of this test on truth ratios. This suite takes the statistic, because a p-value also
    depends on the number of samples.
    """
    theirs = {each["request"]: each["members"] for each in _losses(reference)}
    pairs = [(each["members"], theirs.get(each["request"])) for each in _losses(result)]
    return _mean([ks_statistic(ours, other) for ours, other in pairs if ours and other])


def overall(result: Result) -> dict[str, float | None]:
    """Return the metrics `OVERALL` of one result with requests to forget."""
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
    """Return the metrics `GAPS`: differences in percentage points, `result` minus `reference`, and `retrain_distance`.

    Good: near 0, for each of them.

    Args:
        result: of the goal `retrain`.
        reference: result of retraining, on the same stream with the same seed.
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
    """Return the share of pairs in which the member's loss is lower, 0 to 1; equal losses count half.

    >>> auc(members=[0.1, 0.5], others=[0.5, 0.9])
    0.875
    """
    ranked = sorted(others)
    above = [len(ranked) - bisect_right(ranked, loss) for loss in members]
    equal = [bisect_right(ranked, loss) - bisect_left(ranked, loss) for loss in members]
    return (sum(above) + sum(equal) / 2) / (len(members) * len(others))


def ks_statistic(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic: the largest distance of the empirical distribution functions.

    >>> ks_statistic([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    a, b = sorted(left), sorted(right)
    return max(abs(bisect_right(a, x) / len(a) - bisect_right(b, x) / len(b)) for x in [*a, *b])


def _losses(result: Result) -> list[dict[str, Any]]:
    """Return the losses of all requests, measured after the last one."""
    found: list[dict[str, Any]] = _last(result, "losses") or []
    return found


def _last(result: Result, key: str) -> Any:
    """Return the value of `key` in the diagnostics of the last event that has this key; None without such an event."""
    return next((each[key] for each in reversed(result["diagnostics"]) if isinstance(each, dict) and key in each), None)


def _row(result: Result, after: int) -> Sequence[Any]:
    """Return the row of the matrix after a request."""
    rows = zip(result["events"], result["matrix"])
    found: Sequence[Any] = next(row for event, row in rows if event["kind"] == "request" and event["task"] == after)
    return found


def _columns(result: Result, role: str, request: int | None = None) -> list[int]:
    """Return the positions of the columns with this role and this request."""
    return [
        position
        for position, column in enumerate(result["columns"])
        if column["role"] == role and column["metric"] not in ("format", "loss") and column.get("request") == request
    ]


def _pooled(row: Sequence[Any], columns: Sequence[int]) -> float | None:
    """Return the share of right answers, in percent, over all samples of several columns."""
    total = sum(row[column][1] for column in columns)
    return 100 * sum(row[column][0] for column in columns) / total if total else None


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None
