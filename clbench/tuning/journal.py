"""The journal of all studies of a results folder, in the form of Optuna: its dashboard opens it, and machines may share it.

The journal holds what was drawn. Values come from the records of the search's runs, and are written here for the dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import ConfigError, StoreError
from clbench.records import canonical
from clbench.store.results_folder import prepare
from clbench.tuning.objectives import OBJECTIVES
from clbench.tuning.options import Tuning
from clbench.tuning.proposals import State, Trial, frozen
from clbench.utils.folder_lock import folder_lock

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

FOLDER = "tuning"
"""Folder within the results folder."""
FILE = "journal.log"
DEFINITION = "definition"
"""User attribute of a study: everything that its proposals depend on."""


class Journal:
    """One study of the journal.

    Args:
        results_dir: of the reported runs.
        name: of the study.
        tuning: its options.
        distributions: of the parameters.
    """

    def __init__(self, results_dir: Path, name: str, tuning: Tuning, distributions: Mapping[str, BaseDistribution]) -> None:
        self.folder, self.name, self.tuning = Path(results_dir) / FOLDER, name, tuning
        self.distributions = dict(distributions)
        self._written: set[int] = set()
        self._params: dict[int, dict[str, Any]] = {}
        self._study: Study | None = None

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self.folder / FILE

    def begin(self, definition: Mapping[str, Any]) -> None:
        """Make the study, or go on with the one of this name.

        Args:
            definition: everything that its proposals depend on, in plain values.

        Raises:
            ConfigError: a study of this name has another definition.
            StoreError: the folder cannot be written, or the journal cannot be read.
        """
        prepare(self.folder.parent)
        self.folder.mkdir(exist_ok=True)
        with self._open() as study:
            held = study.user_attrs.get(DEFINITION)
            if held is None:
                study.set_user_attr(DEFINITION, dict(definition))
            elif canonical(held) != canonical(dict(definition)):
                different = sorted(key for key in {*held, *definition} if held.get(key) != definition.get(key))
                raise ConfigError(
                    f"the study {self.name} in {self.path} was made with another {', '.join(different)}",
                    "give tuning.name=NAME for a new study, another results_dir, or the values it was made with",
                )
            self._note(study)

    def params(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of a trial that the journal holds; None if it holds none."""
        return self._params.get(number)

    def add(self, number: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """Write the parameters of a new trial, unless another process did so before; return those that count."""
        with self._open() as study:
            self._note(study)
            if number not in self._params:  # one line of the journal: a kill leaves all of it, or nothing
                study.add_trial(frozen(self.tuning, self.distributions, Trial(number, dict(params))))
                self._note(study)
        return self._params[number]

    def end(self, trial: Trial) -> None:
        """Write the values of a trial that has ended."""
        from optuna.trial import Trial as OptunaTrial
        from optuna.trial import TrialState

        if trial.number in self._written:
            return
        with self._open() as study:
            stored = study.trials[trial.number]
            if not stored.state.is_finished():
                live = OptunaTrial(study, stored._trial_id)
                for step, value in trial.steps().items():
                    live.report(value, step)
                live.set_user_attr("state", str(trial.state))
                live.set_user_attr("seeds", {str(seed): score for seed, score in trial.scores.items()})
                if trial.state is State.PRUNED:
                    study.tell(live, state=TrialState.PRUNED)
                else:
                    study.tell(live, trial.value(OBJECTIVES[self.tuning.objective].worst))
        self._written.add(trial.number)

    def _note(self, study: Study) -> None:
        for stored in study.get_trials(deepcopy=False):
            self._params[stored.number] = dict(stored.params)
            if stored.state.is_finished():
                self._written.add(stored.number)

    @contextmanager
    def _open(self) -> Iterator[Study]:
        """Give the study while no other process reads or writes it."""
        import optuna

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with folder_lock(self.folder):
                _mend(self.path)
                if self._study is None:
                    self._study = self._load()
                yield self._study
        finally:
            optuna.logging.set_verbosity(before)

    def _load(self) -> Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        direction = OBJECTIVES[self.tuning.objective].direction
        try:
            storage = JournalStorage(JournalFileBackend(str(self.path), lock_obj=_Held()))  # type: ignore[arg-type]
            return optuna.create_study(storage=storage, study_name=self.name, direction=direction, load_if_exists=True)
        except (ValueError, KeyError, AssertionError, UnicodeDecodeError) as error:
            raise StoreError(
                f"the journal {self.path} cannot be read ({type(error).__name__}: {error})",
                "move it away: the same command makes it anew, and uses the records of the search's runs again",
            ) from error


class _Held:
    """The lock of Optuna's file: nothing to do, since `folder_lock` is held, which a kill releases."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


def _mend(path: Path) -> None:
    """Drop a last line that a kill has cut: Optuna would append to it, and then read nothing any more."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
