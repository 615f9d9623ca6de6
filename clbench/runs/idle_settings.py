"""Refusals of settings that the length of a run's tasks leaves without effect, before anything is trained."""

from __future__ import annotations

from dataclasses import replace

from clbench.engine.training.loop import Training
from clbench.engine.training.task_length import refuse_idle_schedule, refuse_without_validation
from clbench.errors import ConfigError
from clbench.federated.federated_training import FederatedTraining


def refuse_idle_settings(training: Training | FederatedTraining, online: bool, every: int | None) -> None:
    """Refuse settings that never act: of the schedule, of the trainer, of the evaluation within tasks, of client sampling.

    Args:
        training: of the run.
        online: True for a single-pass stream.
        every: `eval.every`.

    Raises:
        ConfigError: with the reason and a remedy.
    """
    if isinstance(training, FederatedTraining):
        _check_clients(training, every)
        trainer, method = training.clients.trainer, training.clients.method
    else:
        _check_plain(training, online, every)
        trainer, method = training.trainer, training.method
    if trainer.later_lr is not None and len(training.learner.stream.tasks) == 1:
        raise ConfigError(
            f"trainer.later_lr={trainer.later_lr} has no effect: it holds from the second task on, and the stream has one task",
            "leave trainer.later_lr out, or give a stream of more tasks (scenario.n_tasks)",
        )
    micro = trainer.micro_batch_size
    if micro is not None and micro >= trainer.batch_size and not method.overrides("extend_batch"):
        raise ConfigError(
            f"trainer.micro_batch_size={micro} has no effect: no batch is larger (trainer.batch_size={trainer.batch_size})",
            "leave trainer.micro_batch_size out, or give less than trainer.batch_size",
        )


def _check_plain(training: Training, online: bool, every: int | None) -> None:
    trainer, method, tasks = training.trainer, training.method, training.learner.stream.tasks
    refuse_without_validation(trainer.schedule, tasks[0])
    lengths = [training.lengths(len(task.train), task=task) for task in tasks]
    if method.overrides("fit"):  # it may train on other samples, or in other passes: as many as there can be
        total = sum(len(task.train) for task in tasks)
        own = getattr(method, "epochs", None)
        for n, given in [(total, None), (trainer.batch_size, None), (total, own)]:
            lengths += [training.lengths(n, given, task) for task in tasks]
    counts = {"epoch": [epochs for _, _, epochs in lengths], "step": [steps for _, steps, _ in lengths]}
    where = f"trainer.epochs={trainer.epochs}, trainer.iterations={trainer.iterations}"

    def more(unit: str, needed: int) -> str:
        if unit == "step":
            return ""
        if trainer.iterations is not None:
            return f"trainer.iterations={1 + (needed - 1) * max(len(sizes) for sizes, _, _ in lengths)}"
        return f"{'scenario.online=false ' if online else ''}trainer.epochs={needed}"

    refuse_idle_schedule(trainer.schedule, counts, where, more)
    _check_every(every, counts["step"], "steps")


def _check_clients(training: FederatedTraining, every: int | None) -> None:
    clients, federated = training.clients, training.federated
    if clients.trainer.schedule.needs_validation:
        raise ConfigError(
            "trainer.schedule watches a validation loss, and the clients of a federated stream hold no validation samples",
            "give trainer/schedule=cosine trainer.schedule.per=round, or leave trainer/schedule out",
        )
    counts: dict[str, list[int]] = {"epoch": [], "step": [], "round": []}
    owners = [len(clients.owners(task)) for task in training.learner.stream.tasks]
    for task in training.learner.stream.tasks:
        most = max((len(positions) for positions in task.clients or ()), default=0)
        if most:
            _, steps, epochs = clients.training(0).lengths(most, task=replace(task, iterations=None))
            counts["epoch"].append(epochs)
            counts["step"].append(steps)
            counts["round"].append(federated.rounds_of(task.index))
    where = f"federated.local_epochs={federated.local_epochs}, federated.local_iterations={federated.local_iterations}"

    def more(unit: str, needed: int) -> str:
        if unit == "round":
            return f"federated.rounds={needed}"
        return f"federated.local_epochs={needed}" if unit == "epoch" and federated.local_iterations is None else ""

    rounds = [federated.rounds_of(task.index) for task in training.learner.stream.tasks]
    _check_every(every, rounds, "rounds")
    share, most = federated.participation, max(owners)
    if share < 1 and all(max(1, round(share * n)) >= n for n in owners):
        raise ConfigError(
            f"federated.participation={share} has no effect: of {most} clients, all take part in every round",
            "leave federated.participation out" + (f", or give up to {1 - 1 / most:.2g}" if most > 1 else ""),
        )
    if all(counts.values()):
        refuse_idle_schedule(clients.trainer.schedule, counts, f"{where}, federated.rounds={federated.rounds}", more)


def _check_every(every: int | None, counts: list[int], what: str) -> None:
    if every is not None and every > max(counts):
        raise ConfigError(
            f"eval.every={every} has no effect: a task has {max(counts)} {what}",
            f"leave eval.every out, or give up to {max(counts)}",
        )
