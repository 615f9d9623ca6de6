"""Experiments: files of `conf/experiment` that say what was published, and how to train it."""

from __future__ import annotations

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
from clbench.errors import ConfigError
from clbench.metrics.matrix import summary
from clbench.records import read, record_path
from clbench.reproduction.verdict import Published

GROUP = "experiment"
Percent = Annotated[float, Field(ge=0, le=100)]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Claim:
    """The node `published` of an experiment.

    Args:
        title: what the row is called in its source.
        source: paper and table, or program and file.
        accuracy: final accuracy in percent by setting: one row of ours for each.
        std: standard deviation over runs in points, by setting, as far as it was found in print.
        std_source: where it was found, if not in `source`.
        n: runs behind each number.
        gpu: whether a run takes hours on a CPU; then it is left to machines that have a GPU.
        reason: by setting, why ours is outside the tolerance, once the cause is known.
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
    """One published number and the job that is to reach it.

    Args:
        experiment: name of the file below `conf/experiment`, without `.yaml`.
        setting: of the stream.
        claim: what the file says was published.
        composed: the experiment in this setting.
        composer: composed it.
    """

    experiment: str
    setting: str
    claim: Claim
    composed: Composed
    composer: Composer

    @property
    def published(self) -> Published:
        """The number itself."""
        return Published(self.claim.accuracy[self.setting], self.claim.std.get(self.setting), self.claim.n)

    @cached_property
    def job(self) -> Job:
        """What is trained."""
        return make_job(self.composed, self.composer)

    @cached_property
    def files(self) -> list[Path]:
        """Where the record of each seed is, or will be."""
        job = make_job(self.composed, self.composer, named=False)
        return [record_path(Path(spec.results_dir), spec.id) for spec in job.specs()]

    def ours(self) -> list[float]:
        """Return the final accuracy in percent of every seed that is stored in the job's results folder.

        Raises:
            StoreError: a record cannot be read.
        """
        values = [summary(read(path).result)["acc"] for path in self.files if path.exists()]
        return [value for value in values if value is not None]


def find(composer: Composer, folder: Path, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Return the names of the experiments with a published number that match any of `patterns` (`mammoth/s_mnist_*`).

    Args:
        composer: has `folder` on its search path.
        folder: of configuration; its folder `experiment` is looked through.
        patterns: `*` stands for any letters.

    Raises:
        ConfigError: a pattern that matches none.
    """
    files = (folder / GROUP).rglob("*.yaml")
    names = sorted(file.relative_to(folder / GROUP).with_suffix("").as_posix() for file in files)
    known = [name for name in names if _accuracy(composer, name)]
    found = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigError(f"experiments={pattern} matches none", f"there are: {', '.join(known)}; * stands for any letters")
    return found


def rows(composer: Composer, experiment: str, overrides: Sequence[str] = ()) -> list[Row]:
    """Return one row per setting with a published number.

    Args:
        composer: see `clbench.config.hydra_compose`.
        experiment: as `find` returns it.
        overrides: further overrides, for example `results_dir=...`.

    Raises:
        ConfigError: the file's `published` is not as it should be, or the experiment does not compose.
    """
    composed = composer([f"+{GROUP}={experiment}", *overrides])
    said = claim(composed.config.get("published"), experiment)
    return [Row(experiment, setting, said, _in_setting(composed, setting), composer) for setting in said.accuracy]


def _in_setting(composed: Composed, setting: str) -> Composed:
    """Return what composing with `scenario.setting=...` would give, without composing again."""
    config = {**composed.config, "scenario": {**composed.config["scenario"], "setting": setting}}
    return replace(composed, config=config, overrides=(*composed.overrides, f"scenario.setting={setting}"))


def claim(node: Any, experiment: str) -> Claim:
    """Return the node `published`, checked.

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
            f"see {GROUP}=mammoth/s_mnist_er_200 for what an experiment says",
        ) from error


def _accuracy(composer: Composer, experiment: str) -> Mapping[str, Any]:
    """Return the published numbers as the file itself gives them; a file that others stand on has none."""
    published = composer.file(f"{GROUP}/{experiment}").get("published")
    found = published.get("accuracy") if isinstance(published, Mapping) else None
    return found if isinstance(found, Mapping) else {}
