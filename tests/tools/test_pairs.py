"""Every method on every embedded stream: it trains a few steps, or is refused with a remedy. Pairs come from `conf/`."""

from __future__ import annotations

import pytest

from clbench.errors import DivergedError, RefusedError
from clbench.runs.factory import make_method
from tools.safety import pairs
from tools.safety.pairs import Attempt, Pair, Trained, attempt, brief, learns_nothing, measure

EMBEDDED = ("split_digits", "permuted_digits", "rotated_digits", "unlearn_digits", "unlearn_biography", "biography_tiny")
SETTINGS = ("class", "task", "domain")


def scenario(name: str, method: str) -> Pair:
    """Return a method on a scenario: where it has several settings, in one that the method declares, in turn."""
    words = (f"scenario={name}", *pairs.MODELS.get(name, ()), f"method={method}")
    if name in ("split_digits", "permuted_digits", "rotated_digits"):
        declared = make_method(pairs.spec(words, "runs").config["method"]).settings
        able = [setting for setting in SETTINGS if setting in declared]
        words = (*words, f"scenario.setting={able[pairs.methods().index(method) % len(able)]}")
    return Pair(name, name, method, words)


@pytest.mark.parametrize("method", pairs.methods())
def test_every_method_trains_on_every_embedded_stream_or_is_refused(method: str) -> None:
    report = measure([scenario(name, method) for name in EMBEDDED], told=lambda line: None)
    assert report.violations == []
    assert sum(report.counts.values()) == len(EMBEDDED)
    assert any(kind.endswith("trained") for kind in report.counts)


def test_the_list_of_embedded_streams_is_complete() -> None:
    found = {name.partition(":")[0] for name in pairs.streams()}
    assert found == {*EMBEDDED, "permuted", "rotated", "split"}  # the last three: the same data under the base's name


def test_the_pairs_hold_every_method_server_and_partition() -> None:
    made = list(pairs.pairs())
    streams = {pair.stream for pair in made if pair.kind == "federated"}
    assert {"split_digits:task iid fedavg", "split_digits:task shards fot", "split_digits:task dirichlet fedsvd"} <= streams
    for method in pairs.methods():
        mine = {pair.stream for pair in made if pair.method == method}
        assert {"rotated_digits:class", "split_digits:task iid fedavg"} <= mine
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("server", ["fedavg", "fedadam", "fot"])
def test_federated_pairs_train(server: str) -> None:
    words = ("scenario=split_digits", "scenario.setting=task", "+federated=iid", f"federated/server={server}", "method=naive")
    pair = Pair("federated", "split_digits:task", "naive", words)
    assert attempt(pair, (*words, *brief(pair))).end == "trained"


@pytest.mark.parametrize(
    ("error", "end", "fault"),
    [
        (DivergedError("the loss became nan", "lower it"), "trained", "er on s: the loss became nan"),
        (RefusedError("no", "another"), "refused", None),
        (RefusedError("no"), "refused", "er on s: refused without a remedy: no"),
        (IndexError("odd"), "trained", "er on s: IndexError: odd"),
    ],
)
def test_what_a_run_raises_is_judged(monkeypatch: pytest.MonkeyPatch, error: Exception, end: str, fault: str | None) -> None:
    def fails(words: object, seed: int) -> None:
        raise error

    monkeypatch.setattr(pairs, "train", fails)
    assert attempt(Pair("s", "s", "er", ()), ()) == Attempt(end, fault)


def test_a_stream_that_naive_cannot_train_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "attempt", lambda pair, words, seed: Attempt("refused"))
    assert measure([Pair("s", "s", "naive", ())], told=lambda line: None).status == 1


def test_only_streams_with_a_protocol_are_compared_with_naive() -> None:
    assert pairs.has_protocol(Pair("s", "rotated_digits:class", "er", ()))
    assert not pairs.has_protocol(Pair("s", "rotated:class", "er", ()))


def test_who_learns_later_tasks_no_better_than_guessing_learns_nothing() -> None:
    pair, naive = Pair("s", "s", "er", ()), Trained((0.9, 0.9, 0.9), 0.1)
    assert learns_nothing(pair, Trained((0.9, 0.2, 0.3), 0.1), naive) is not None
    assert learns_nothing(pair, Trained((0.1, 0.9, 0.4), 0.1), naive) is None
    assert learns_nothing(pair, Trained((0.9,), 0.1), naive) is None
    assert learns_nothing(pair, None, naive) is None


def test_weights_that_are_not_finite_are_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = pairs.prepare

    def spoiled(spec, report):  # type: ignore[no-untyped-def]
        run = prepare(spec, report)
        run.save = lambda task: next(run.learner.model.parameters()).data.fill_(float("nan")) if task.index else None
        return run

    monkeypatch.setattr(pairs, "prepare", spoiled)
    pair = scenario("split_digits", "naive")
    assert "not finite" in str(attempt(pair, (*pair.words, *brief(pair))).fault)
