"""The work of `clbench-tune`: all searches in one pool of workers, then what they chose, then the reported runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clbench.config.job import Job, make_job
from clbench.errors import ClbenchError
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Limits
from clbench.runner.execute import RUN_FUNCTION
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display
from clbench.runner.progress_text import duration
from clbench.runner.run_specs import Following, run_specs
from clbench.runner.sweep import Broken
from clbench.tuning.choice import Choice, describe
from clbench.tuning.display import search_display
from clbench.tuning.plan import Plan, digest
from clbench.tuning.proposals import State
from clbench.tuning.search import Search
from clbench.utils import markup

LOGS = ".logs"
Rounds = Callable[[Sequence[RunSpec], Display], list[Outcome]]
"""Executes runs elsewhere, and returns when all have ended."""


@dataclass(frozen=True)
class Chosen:
    """The end of one search: what it chose, or why it could not."""

    plan: Plan
    choice: Choice | None
    error: ClbenchError | None


def search_all(plans: Sequence[Plan], console: Console, progress: bool = True, rounds: Rounds | None = None) -> list[Chosen]:
    """Execute the searches of all plans in one pool of workers; stored runs are not trained again.

    Args:
        plans: one per study.
        console: for progress.
        progress: whether to show it.
        rounds: executes runs in place of this machine's workers.

    Raises:
        ClbenchError: no run could start.
    """
    searches: list[Search] = []
    chosen: dict[int, Chosen] = {}
    first: list[RunSpec] = []
    for number, plan in enumerate(plans):
        search = Search(plan)
        try:
            first += search.begin()
        except ClbenchError as error:
            chosen[number] = Chosen(plan, None, error)
        searches.append(search)
    shown = search_display(console, searches, progress)

    def after(outcome: Outcome) -> list[RunSpec]:
        new = [spec for search in searches for spec in search.after(outcome)]
        shown.moved()
        return new

    if first:
        most = sum(plan.tuning.trials * len(plan.tuning.search_seeds) for plan in plans)
        if rounds is not None:
            _in_rounds(first, after, shown, rounds)
        else:
            _in_pool(first, Following(after, most, lambda spec: min(search.order(spec) for search in searches)), shown)
    for number, search in enumerate(searches):
        if number in chosen:
            continue
        try:
            chosen[number] = Chosen(search.plan, search.choice(), None)
        except ClbenchError as error:
            chosen[number] = Chosen(search.plan, None, error)
    return [chosen[number] for number in range(len(plans))]


def _in_pool(first: Sequence[RunSpec], following: Following, shown: Display) -> None:
    """Execute runs, and those that follow from them, by the workers of this machine."""
    how = first[0].execution
    limits = Limits(how.memory_share, how.memory_unknown, how.memory_context, how.memory_margin)  # type: ignore[arg-type]
    run_specs(first, shown, how.workers, RUN_FUNCTION, limits, None, LOGS, following=following)


def _in_rounds(first: Sequence[RunSpec], after: Callable[[Outcome], list[RunSpec]], shown: Display, rounds: Rounds) -> None:
    """Execute runs elsewhere, round by round: what follows from the ends of one is the next."""
    waiting, known = list(first), set[str]()
    while waiting:
        now = list({spec.id: spec for spec in waiting if spec.id not in known}.values())
        known.update(spec.id for spec in now)
        waiting = [spec for outcome in rounds(now, shown) for spec in after(outcome)] if now else []


def node(plan: Plan, choice: Choice) -> dict[str, Any]:
    """Return what a reported record says of the search that chose its values: the node `tuning` of its identity."""
    tuning, definition = plan.tuning, plan.definition()
    content = {
        "protocol": tuning.protocol,
        **({"k": tuning.k, "report": tuning.report} if tuning.protocol == "first_k" else {}),
        **({"stream": list(tuning.stream or ()), "tuned_on": plan.tuned_on.names["scenario"]} if tuning.stream else {}),
        "trials": len(choice.trials),
        **{key: definition[key] for key in ("seeds", "objective", "sampler", "pruner", "configuration")},
        "valid_fraction": plan.tuned_on.config["scenario"].get("valid_fraction"),
        **({"seconds": tuning.seconds} if tuning.seconds is not None else {}),
        "space_sha256": plan.space.sha256,
        "trials_sha256": choice.trials_sha256,
    }
    return {**content, "search": digest(content)[:12]}


def reported(plan: Plan, choice: Choice) -> Job:
    """Return the job that reports the chosen values: the only one that reads the test stream."""
    job = make_job(plan.composer([*plan.words, *plan.space.words(choice.values)]), plan.composer)
    told = {"seconds": round(choice.seconds, 1), "runs": choice.runs, "optuna": _optuna()}
    return replace(job, tuning=node(plan, choice), tuned_by={"protocol": plan.tuning.protocol, **told})


def _optuna() -> str:
    from importlib.metadata import version

    return version("optuna")


def table(chosen: Sequence[Chosen]) -> Table:
    """Return what the searches chose, for the terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("study", "trials", "ended early", "diverged", "validation", "defaults", "values", "search time"):
        made.add_column(name, justify="left" if name in ("study", "values") else "right", overflow="fold")
    for each in chosen:
        if each.choice is None:
            continue
        choice, trial = each.choice, each.choice.trial
        count = [sum(other.state is state for other in choice.trials) for state in (State.PRUNED, State.DIVERGED)]
        first = choice.trials[0]
        usual = f"{first.value(0.0):.1f}" if first.state is State.COMPLETE else "–"
        made.add_row(
            Text(markup.name(each.plan.label, 60)),
            str(len(choice.trials)),
            *map(str, count),
            f"{trial.value(0.0):.1f}",
            usual,
            Text(describe(choice.values)),
            duration(choice.seconds),
        )
    return made


def sentence(plan: Plan, choice: Choice) -> str:
    """Return the sentence for a paper."""
    tuning, n = plan.tuning, len(choice.trials)
    where = {
        "first_k": f"the validation splits of the first {tuning.k} task{'s' if tuning.k != 1 else ''}",
        "transfer": f"the validation splits of another stream ({plan.tuned_on.names['scenario']})",
        "end": "the validation splits of all tasks at the end of the stream (an upper bound)",
    }[tuning.protocol]
    *others, last = [key.removeprefix("method.") for key in choice.values]
    keys = f"{', '.join(others)} and {last} were" if others else f"{last} was"
    seeds = len(tuning.search_seeds)
    return (
        f"{plan.base.names['method']}: {keys} tuned with {n} trials of {seeds} seed{'s' if seeds != 1 else ''} each on {where}. "
        "The test stream was read by the reported runs alone."
    )


def failures(chosen: Sequence[Chosen]) -> list[Broken]:
    """Return the searches without a choice, as the runner shows jobs that cannot run."""
    return [Broken(each.plan.label, each.error) for each in chosen if each.error is not None]


def said(chosen: Sequence[Chosen]) -> list[str]:
    """Return one line per search for what its space left out, and for defaults that were kept."""
    lines = []
    for each in chosen:
        if not each.plan.space.own:
            lines.append(
                f"{each.plan.label}: no search space of its own (search/{each.plan.base.names['method']}.yaml): base alone"
            )
        for key, value in each.plan.space.moved().items():
            near = each.plan.space.usual_inside()[key]
            lines.append(f"{each.plan.label}: {key}={value} is outside of its range: trial 0 has {near}")
        for key, reason in each.plan.space.dropped.items():
            lines.append(f"{each.plan.label}: {key} is not searched: {reason}")
        if each.choice is not None and each.choice.idle:
            lines.append(f"{each.plan.label}: {', '.join(each.choice.idle)} changed no answer: the default stays")
    return list(dict.fromkeys(lines))


def journal_line(plans: Sequence[Plan]) -> str:
    """Return the line that says where the journal is."""
    paths = dict.fromkeys(str(Path(plan.results_dir) / "tuning" / "journal.log") for plan in plans)
    return f"journal: {', '.join(paths)} (optuna-dashboard opens it)"


def planned(plans: Sequence[Plan]) -> list[str]:
    """Return what the searches would do at most (`runner.dry`)."""
    lines = []
    for plan in plans:
        tuning = plan.tuning
        seeds = len(tuning.search_seeds)
        lines.append(
            f"{plan.label}: {tuning.trials} trials x {seeds} seeds, at most {tuning.trials * seeds} runs, then "
            f"{len(plan.base.seeds) if tuning.run else 0} reported; searched: {', '.join(plan.space.entries)}"
        )
    return lines
