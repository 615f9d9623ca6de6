"""Composing many jobs gives what Hydra composes for each by itself."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

import clbench
from clbench.config.hydra_cache import ReadOnce
from clbench.config.hydra_compose import CONFIG_NAME, conf_dir, new_composer

JOBS = [
    ["method=er", "scenario=permuted_digits"],
    ["scenario=permuted_digits", "method=er", "optimizer.lr=0.5"],
    ["method=er", "method.buffer_size=7", "scenario=permuted_digits", "+method.more={a: [1, 2]}"],
    ["method=naive", "method=er", "optimizer.lr=1", "optimizer.lr=2"],
    ["method=er", "method=naive"],
    ["optimizer=adam", "optimizer.betas=[0.5,0.6]", "trainer/schedule=cosine"],
    ["+experiment=mammoth/s_mnist_er_200", "scenario.setting=task"],
    ["method=compose", "+method@method.parts.er=er", "+method@method.parts.ewc=ewc", "method.parts.er.buffer_size=3"],
    ["method=compose", "+method@method.parts.ewc=ewc", "+method@method.parts.er=er"],
    ["~logger.console", "results_dir=${hydra.job.override_dirname}", "hydra.job.name=mine"],
    ["scenario=split", "scenario/dataset=npz", "scenario.dataset.path=x.npz", "seeds=[3,1]"],
    ["logger=none"],
    [],
]
BROKEN = [
    ["method=nonsense"],
    ["method=er", "method.nonsense=1"],
    ["method=er,ewc"],
    ["optimizer.lr=1,2"],
    ["+method=er"],
    ["optimizer.lr.deep=1"],
    ["trainer={epochs: 3}", "trainer.nothing=1"],
]


def by_hydra(overrides: list[str]) -> object:
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    return loader.load_configuration(CONFIG_NAME, overrides, RunMode.RUN)


def test_any_number_of_jobs_in_any_order_compose_as_hydra_composes_each() -> None:
    composer = new_composer()
    for jobs in (JOBS, JOBS[::-1]):
        for overrides in jobs:
            ours = composer.loader.load_configuration(CONFIG_NAME, overrides)
            theirs = by_hydra(overrides)
            assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs), overrides  # type: ignore[arg-type]
            assert list(ours) == list(theirs), overrides  # type: ignore[call-overload]
            assert OmegaConf.is_struct(ours)


def test_a_group_from_another_folder_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "mine.yaml").write_text("x: 1\n")
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", "+extra=mine", "extra.x=2", "method=er"]
    ours = new_composer().loader.load_configuration(CONFIG_NAME, overrides)
    assert OmegaConf.to_container(ours) == OmegaConf.to_container(by_hydra(overrides))  # type: ignore[arg-type]
    assert ours.extra.x == 2


@pytest.mark.parametrize("overrides", BROKEN)
def test_what_hydra_refuses_is_refused_in_its_words(overrides: list[str]) -> None:
    composer = new_composer()
    composer.loader.load_configuration(CONFIG_NAME, ["method=er"])
    with pytest.raises(HydraException) as theirs:
        by_hydra(overrides)
    with pytest.raises(type(theirs.value)) as ours:
        composer.loader.load_configuration(CONFIG_NAME, overrides)
    assert str(ours.value) == str(theirs.value)


def test_a_job_that_is_changed_changes_no_other() -> None:
    loader = new_composer().loader
    first = loader.load_configuration(CONFIG_NAME, ["method=er"])
    before = OmegaConf.to_container(first)
    OmegaConf.update(first, "method.buffer_size", 1)
    first.hydra.overrides.task.append("x=1")
    assert OmegaConf.to_container(loader.load_configuration(CONFIG_NAME, ["method=er"])) == before


def test_a_file_is_read_once_and_its_copies_are_ones_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {b: 1}\n")
    shared = ReadOnce(ConfigLoaderImpl(create_config_search_path(str(tmp_path))).repository)
    first = shared.load_config("config")
    assert first is not None
    first.config.a.b = 2
    (tmp_path / "config.yaml").write_text("a: {b: 3}\n")
    again = copy.deepcopy(shared).load_config("config")
    assert again is not None
    assert again.config.a.b == 1


def test_other_sources_concern_the_copy_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.yaml").write_text("x: 1\n")
    shared = ReadOnce(ConfigLoaderImpl(create_config_search_path(str(tmp_path / "one"))).repository)
    assert shared.config_exists("one")
    other = copy.deepcopy(shared)
    other.initialize_sources(create_config_search_path(str(tmp_path / "two")))
    assert [other.config_exists("one"), other.config_exists("two")] == [False, True]
    assert [shared.config_exists("one"), shared.config_exists("two")] == [True, False]


def test_no_other_file_uses_hydras_private_interface() -> None:
    private = re.compile(r"hydra\._internal|hydra\.core\.(plugins|default_element|override_parser|object_type)|setup_globals")
    folders = (Path(clbench.__file__).parent, Path(clbench.__file__).parent.parent / "hydra_plugins")
    users = [path.name for folder in folders for path in folder.rglob("*.py") if private.search(path.read_text())]
    assert users == ["hydra_cache.py"]
