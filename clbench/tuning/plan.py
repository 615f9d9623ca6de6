"""From the words of the command line to what is searched and what is reported, by the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clbench.config.hydra_compose import Composer
from clbench.config.job import Job, make_job
from clbench.config.resolve import resolve
from clbench.errors import ConfigError, RefusedError
from clbench.records import canonical, config_hash
from clbench.run_spec import RunSpec
from clbench.tuning.journal import FOLDER
from clbench.tuning.options import Tuning
from clbench.tuning.space import Space
from clbench.tuning.space_checks import check_values
from clbench.tuning.space_file import load_space

WITHOUT_TUNED = "~tuned"
"""Override that leaves out `conf/tuned`: a search starts from the defaults, which have seen no later task."""


@dataclass(frozen=True)
class Plan:
    """One study: what is searched for one configuration, and what is reported.

    Args:
        tuning: the options.
        words: overrides of the reported run at its defaults.
        searched: overrides of the search's runs at the defaults.
        composer: of all runs.
        base: the reported run at its defaults.
        tuned_on: the search's run at the defaults.
        space: what is searched.
    """

    tuning: Tuning
    words: tuple[str, ...]
    searched: tuple[str, ...]
    composer: Composer
    base: Job
    tuned_on: Job
    space: Space

    @property
    def label(self) -> str:
        """Name for people: method, scenario, setting, protocol."""
        names = self.base.names
        server = names.get("server")
        parts = [names["method"], *([server] if server else []), names["scenario"], setting(self.base), protocol(self.tuning)]
        return " ".join(parts)

    @property
    def name(self) -> str:
        """Name of the study, and of the folder of its runs."""
        return self.tuning.name or self.label.replace(" ", "-")

    @property
    def results_dir(self) -> Path:
        """Folder of the reported runs."""
        return Path(self.base.results_dir)

    @property
    def folder(self) -> Path:
        """Folder of the search's runs: a results folder of its own, within that of the reported runs."""
        return self.results_dir / FOLDER / self.name

    @property
    def steps(self) -> int:
        """Values of one run that a pruner compares: one per task for accuracy, else one; 1 if the number is not known."""
        n_tasks = self.tuning.k or self.tuned_on.config["scenario"].get("n_tasks")
        return n_tasks if self.tuning.objective == "acc" and isinstance(n_tasks, int) else 1

    def specs(self, values: Mapping[str, Any]) -> list[RunSpec]:
        """Return the search's runs with given values, one per seed. They have no logger: the journal shows the search.

        Args:
            values: of the searched keys.

        Raises:
            ConfigError: the values are not possible together.
        """
        words = [*self.searched, *self.space.words(values)]
        job = make_job(self.composer(words), self.composer, named=False)
        return replace(job, results_dir=str(self.folder), seeds=self.tuning.search_seeds, logger={}).specs()

    def values_of(self, spec: RunSpec) -> dict[str, Any]:
        """Return the values of the searched keys in a run."""
        found = {}
        for key in self.space.entries:
            place: Any = spec.config
            for part in key.split("."):
                place = place[part]
            found[key] = place
        return found

    def definition(self) -> dict[str, Any]:
        """Return everything that the trials of the study depend on, in plain values. It leaves out the number of trials."""
        tuning = self.tuning
        spec = self.tuned_on.specs()[0]
        sampler = {"name": tuning.sampler, "seed": tuning.sampler_seed, "startup": tuning.startup, "parallel": tuning.parallel}
        return {
            "space": self.space.plain(),
            "sampler": sampler,
            "pruner": {"name": tuning.pruner, "p_threshold": tuning.p_threshold},
            "objective": tuning.objective,
            "seeds": list(tuning.search_seeds),
            "configuration": config_hash(spec.identity),
        }


def protocol(tuning: Tuning) -> str:
    """Return the protocol's name with what distinguishes it: `first_2`, `transfer`, `end`."""
    return f"first_{tuning.k}" if tuning.protocol == "first_k" else tuning.protocol


def setting(job: Job) -> str:
    """Return the scenario's setting."""
    return str(job.config["scenario"].get("setting", ""))


def make_plan(tuning: Tuning, words: Sequence[str], composer: Composer, search: str | None = None) -> Plan:
    """Return the plan of one configuration.

    Args:
        tuning: the options; not `fixed`.
        words: overrides of the reported run.
        composer: composes all runs.
        search: name of the file of the space; None: the method's own.

    Raises:
        ConfigError: an invalid configuration or space; seeds that are tuned on and reported; no validation split; k tasks or
            more in all; a stream of another shape.
    """
    plain = (*words, WITHOUT_TUNED)
    if composer(plain).config["scenario"].get("requests"):
        raise RefusedError(
            "a stream with requests to forget cannot be tuned: whether they were met shows on test samples alone",
            "choose a stream without requests, such as scenario=split_digits",
        )
    reported = (*plain, *_reported(tuning))
    base = make_job(composer(reported), composer, named=False)
    _check_seeds(tuning, base)
    if tuning.protocol == "first_k":
        _check_tasks(tuning, make_job(composer(plain), composer, named=False))
    stream = _stream_words(tuning, plain)
    held_out = _searched_job(tuning, stream, composer).config["scenario"].get("valid_fraction")
    fraction = [] if held_out else [f"scenario.valid_fraction={tuning.valid_fraction}"]
    searched = (*stream, *fraction, *_searched(tuning))
    on = _searched_job(tuning, searched, composer)
    if tuning.protocol == "transfer":
        _check_shapes(base, on)
    composed = composer(searched)
    file = search or base.names["method"]
    space = load_space(composer, file, resolve(composed, composer), search is not None)
    check_values(space, on.config, file)
    given = {override.name for override in composer.parse(words, composed.choices) if not override.group}
    return Plan(tuning, reported, searched, composer, base, on, space.without(given, "given on the command line"))


def _reported(tuning: Tuning) -> list[str]:
    """Return the overrides of the reported run that the protocol adds."""
    return [f"++scenario.task_range=[{tuning.k},null]"] if tuning.report == "rest" else []


def _searched(tuning: Tuning) -> list[str]:
    """Return the overrides of the search's runs."""
    sliced = [f"++scenario.task_range=[0,{tuning.k}]"] if tuning.protocol == "first_k" else []
    return [*sliced, "eval.split=valid"]


def _stream_words(tuning: Tuning, words: Sequence[str]) -> list[str]:
    """Return the overrides with those of the stream to tune on in place of the reported stream's."""
    if tuning.protocol != "transfer":
        return list(words)
    if not tuning.stream:
        raise ConfigError(
            "tuning=transfer needs the stream to tune on", "for example tuning.stream=[scenario=split_fashion_mnist]"
        )
    key = {word.partition("=")[0].lstrip("+") for word in tuning.stream}
    if not all(each == "scenario" or each.startswith(("scenario.", "scenario/")) for each in key):
        raise ConfigError(f"tuning.stream={tuning.stream} changes more than the scenario", "give overrides of scenario alone")
    kept = [word for word in words if word.partition("=")[0].lstrip("+~") not in key]
    return [*kept, *tuning.stream]


def _searched_job(tuning: Tuning, words: Sequence[str], composer: Composer) -> Job:
    try:
        return replace(make_job(composer(words), composer, named=False), seeds=tuning.search_seeds)
    except ConfigError as error:
        if tuning.protocol == "transfer":
            raise ConfigError(f"the stream to tune on, tuning.stream={tuning.stream}: {error.what}", error.remedy) from error
        raise


def _check_seeds(tuning: Tuning, base: Job) -> None:
    both = sorted(set(tuning.search_seeds) & set(base.seeds))
    if both and tuning.protocol != "fixed":
        raise ConfigError(
            f"seed {both[0]} is in seeds={list(base.seeds)} and in tuning.seeds={list(tuning.search_seeds)}",
            "tune on other seeds than you report: give tuning.first_seed=1000",
        )


def _check_tasks(tuning: Tuning, whole: Job) -> None:
    """Refuse to tune on all tasks of the stream, or more."""
    assert tuning.k is not None
    n_tasks = whole.config["scenario"].get("n_tasks")
    if not isinstance(n_tasks, int):
        n_tasks = len(_stream(whole).learned)
    if tuning.k >= n_tasks:
        raise ConfigError(
            f"tuning.k={tuning.k} of a stream with {n_tasks} tasks leaves no later task",
            f"give tuning.k={max(1, n_tasks - 1)} or less, or tuning=end (all tasks: an upper bound)"
            if n_tasks > 1
            else "give tuning=end",
        )


def _check_shapes(base: Job, on: Job) -> None:
    """Refuse two streams that a learner could tell apart by their shape."""
    one, other = _stream(base), _stream(on)
    shapes = [
        {
            "tasks": len(stream.learned),
            "setting": stream.setting,
            "outputs": list(stream.head_sizes),
            "input shape": list(stream.input_shape),
        }
        for stream in (one, other)
    ]
    different = [key for key in shapes[0] if shapes[0][key] != shapes[1][key]]
    if different:
        key = different[0]
        raise RefusedError(
            f"the stream to tune on ({on.names['scenario']}) has another shape than the reported one "
            f"({base.names['scenario']}): {key} {shapes[1][key]} and {shapes[0][key]}",
            "choose a stream with the same number of tasks, classes per task and inputs in tuning.stream",
        )


def _stream(job: Job) -> Any:
    """Return the stream of a job's first run, on the CPU; torch is loaded for it."""
    import torch

    from clbench.runs.factory import load_stream

    return load_stream(job.specs()[0], torch.device("cpu"))


def digest(value: Any) -> str:
    """Return the sha256 of a plain value."""
    import hashlib

    return hashlib.sha256(canonical(value).encode()).hexdigest()
