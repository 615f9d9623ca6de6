"""Experiments: files of `conf/experiment` with a published number and the configuration to train it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from clbench.config.hydra_compose import Composed, Composer
from clbench.config.job import Job, make_job
from clbench.errors import ConfigError, StoreError
from clbench.metrics.matrix import summary
from clbench.records import read, record_path
from clbench.reproduction.verdict import Published
from clbench.store.failures import failure_path
from clbench.utils.nearest import nearest
from clbench.utils.safe_json import escaped

GROUP = "experiment"
Percent = Annotated[float, Field(ge=0, le=100)]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Claim:
    """The node `published` of an experiment.

    Args:
        title: name of the row in its source.
        source: paper and table, or program and file.
        accuracy: final accuracy in percent by setting; each setting is one row of ours.
        std: standard deviation over runs in points, by setting, if it was published.
        std_source: where it was published, if not in `source`.
        n: number of runs behind each published number.
        gpu: whether a run takes hours on a CPU; such rows run only on machines with a GPU.
        reason: by setting, the known cause of a difference outside the tolerance.
    """

    title: str
    source: str
    accuracy: dict[str, Percent]
    std: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    std_source: str = ""
    n: Annotated[int, Field(ge=1)] | None = None
    gpu: bool = False
    reason: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One published number and the job that reproduces it.

    Args:
        experiment: name of the file below `conf/experiment`, without `.yaml`.
        setting: setting of the stream.
        claim: the file's node `published`.
        composed: the configuration of the experiment in this setting.
        composer: the composer that made it.
    """

    experiment: str
    setting: str
    claim: Claim
    composed: Composed
    composer: Composer

    @property
    def published(self) -> Published:
        """The published number."""
        return Published(self.claim.accuracy[self.setting], self.claim.std.get(self.setting), self.claim.n)

    @cached_property
    def job(self) -> Job:
        """The job that trains the experiment."""
        return make_job(self.composed, self.composer)

    @cached_property
    def files(self) -> list[Path]:
        """The file of each seed's record, which may not exist yet."""
        job = make_job(self.composed, self.composer, named=False)
        return [record_path(Path(spec.results_dir), spec.id) for spec in job.specs()]

    def _accuracies(self) -> tuple[list[float], list[StoreError]]:
        """Return the final accuracy in percent of every seed with a record, and an error for each record that cannot be read."""
        values, errors = list[float](), list[StoreError]()
        for path in self.files:
            if os.path.lexists(path):
                try:
                    value = summary(read(path).result)["acc"]
                    values += [] if value is None else [value]
                except StoreError as error:
                    name = escaped(path)
                    what = error.what if name in error.what else f"the record {name} cannot be shown: {error.what}"
                    errors.append(StoreError(what, error.remedy))
        return values, errors

    def ours(self) -> list[float]:
        """Return the final accuracy in percent of every seed with a readable record in the job's results folder."""
        return self._accuracies()[0]

    def unreadable(self) -> list[StoreError]:
        """Return an error for each seed whose record cannot be read."""
        return self._accuracies()[1]

    def failed(self) -> int:
        """Return the number of seeds that failed and have no record, or whose record cannot be read."""
        failed = (failure_path(path.parent, path.stem) for path in self.files if not os.path.lexists(path))
        return sum(map(os.path.lexists, failed)) + len(self.unreadable())


def find(composer: Composer, folder: Path, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Return the names of the experiments with a published number that match any of `patterns` (`mammoth/s_mnist_*`).

    Args:
        composer: a composer with `folder` on its search path.
        folder: configuration folder; its folder `experiment` is searched.
        patterns: `*` stands for any letters.

    Raises:
        ConfigError: a pattern matches no experiment.
    """
    files = (folder / GROUP).rglob("*.yaml")
    names = sorted(file.relative_to(folder / GROUP).with_suffix("").as_posix() for file in files)
    known = [name for name in names if _accuracy(composer, name)]
    found = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            near = nearest(pattern, known)
            hint = f"did you mean experiments={near}? " if near else ""
            raise ConfigError(
                f"experiments={pattern} matches none", f"{hint}there are: {', '.join(known)}; * stands for any letters"
            )
    return found


def rows(composer: Composer, experiment: str, overrides: Sequence[str] = ()) -> list[Row]:
    """Return one row per setting with a published number.

    Args:
        composer: see `clbench.config.hydra_compose`.
        experiment: name from `find`.
        overrides: further overrides, for example `results_dir=...`.

    Raises:
        ConfigError: the file's node `published` is invalid, or the experiment does not compose.
    """
    composed = composer([f"+{GROUP}={experiment}", *overrides])
    published = claim(composed.config.get("published"), experiment)
    settings = published.accuracy
    return [Row(experiment, setting, published, _in_setting(composed, setting), composer) for setting in settings]


def _in_setting(composed: Composed, setting: str) -> Composed:
    """Return the configuration with `scenario.setting=...`, without composing again."""
    config = {**composed.config, "scenario": {**composed.config["scenario"], "setting": setting}}
    return replace(composed, config=config, overrides=(*composed.overrides, f"scenario.setting={setting}"))


def claim(node: Any, experiment: str) -> Claim:
    """Return the checked node `published`.

    Raises:
        ConfigError: a key is missing, unknown, or of another type.
    """
    try:
        return TypeAdapter(Claim).validate_python(node)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"published.{where}={first.get('input')!r} of {GROUP}={experiment}: {first['msg']}",
            f"see {GROUP}=mammoth/s_mnist_er_200 for an example",
        ) from error


def _accuracy(composer: Composer, experiment: str) -> Mapping[str, Any]:
    """Return the published numbers of the file itself. A file that serves only as a base for others has none."""
    published = composer.file(f"{GROUP}/{experiment}").get("published")
    found = published.get("accuracy") if isinstance(published, Mapping) else None
    return found if isinstance(found, Mapping) else {}
