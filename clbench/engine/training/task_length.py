"""How many steps and epochs a task takes, and refusals where that leaves nothing to act on."""

from __future__ import annotations

from collections.abc import Callable

from clbench.engine.pace import per
from clbench.engine.schedules import Idle, Schedule
from clbench.engine.training.trainer import Trainer
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.stream import Task


def steps_and_epochs(trainer: Trainer, task: Task, batches: int, given: int | None = None, work: float = 1.0) -> tuple[int, int]:
    """Return the number of steps of a pass over a task, and the number of epochs that they take.

    Args:
        trainer: how a task is passed over.
        task: the one that is meant.
        batches: of an epoch.
        given: number of epochs; None: as task and trainer say.
        work: share of the steps that is taken, at least one step.
    """
    each = trainer.epochs
    passes = each if isinstance(each, int) else each[min(task.index, len(each) - 1)]
    steps = task.iterations or trainer.iterations or passes * batches
    if given is not None:
        steps = given * batches
    if work < 1:
        steps = max(1, round(work * steps))
    return steps, -(-steps // batches)


def refuse_one_epoch(method: Method, trainer: Trainer, epochs: int) -> None:
    """Refuse a single epoch for a method that acts between epochs.

    Raises:
        ConfigError: with the remedy.
    """
    if epochs < 2:
        raise ConfigError(
            f"{type(method).__name__} acts between epochs, and a task has one (trainer.epochs={trainer.epochs}, "
            f"trainer.iterations={trainer.iterations}): it would do nothing",
            "give trainer.epochs=2 or more, and no single-pass stream",
        )


def refuse_without_validation(schedule: Schedule, task: Task) -> None:
    """Refuse a schedule that watches a validation loss, if the task has no validation split.

    Raises:
        ConfigError: with the remedy.
    """
    if schedule.needs_validation and task.valid is None:
        raise ConfigError(
            "trainer.schedule needs a validation split and scenario.valid_fraction is 0",
            "give scenario.valid_fraction=0.05 (or another share of the training data)",
        )


def refuse_idle_schedule(schedule: Schedule, counts: dict[str, list[int]], where: str, more: Callable[[str, int], str]) -> None:
    """Refuse a schedule with a part that never acts.

    Args:
        schedule: of the learning rate.
        counts: for each task, the number of its epochs (`epoch`) and steps (`step`); in a federated stream those of a round, and
            the number of rounds (`round`).
        where: the keys that set these numbers, for the message.
        more: returns the overrides that give a task so many epochs, steps or rounds; empty if none does.

    Raises:
        ConfigError: with the reason and remedies.
    """
    unit = per(schedule)
    if unit not in counts:
        raise ConfigError(
            f"trainer.schedule.per={unit} counts the rounds of a federated stream, and this stream has none",
            "give trainer.schedule.per=epoch or trainer.schedule.per=step, or choose +federated=iid",
        )
    check: Callable[[list[int]], Idle | None] | None = getattr(schedule, "idle", None)
    if check is None:  # a schedule of the user's own
        return
    found = check(counts[unit])
    if found is None:
        return
    remedies = [found.remedy, more(unit, found.needed)]
    for other in counts if hasattr(schedule, "per") else ():
        there = check(counts[other])
        if other != unit and (there is None or there.remedy):
            remedies.append(f"trainer.schedule.per={other} {there.remedy if there else ''}".strip())
    remedies.append("trainer/schedule=constant")
    raise ConfigError(f"{found.reason} ({where})", f"give {', or '.join(each for each in remedies if each)}")
