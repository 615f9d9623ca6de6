"""Which modules stand behind a configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clbench.errors import ConfigError
from clbench.sources import modules
from clbench.sources.trace import Sources, sources, targets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('____init__', '/INIT').replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def of(target: str) -> dict[str, str]:
    return sources({"method": {"_target_": target}}).get("method", {})


def test_classes_of_clbench_and_of_its_libraries_have_no_source() -> None:
    assert sources({"method": {"_target_": "clbench.methods.er.ER"}, "model": {"_target_": "torch.nn.Identity"}}) == {}


def test_imports_are_followed_wherever_they_stand(folder: Path) -> None:
    write(folder, src_a="import src_b\nclass A(src_b.B): pass\n", src_b="from src_c import *\nclass B: pass\n")
    write(folder, src_c="def f():\n    from src_d import g\n    return g\n", src_d="import math, torch\ng = 1\n", src_e="")
    assert list(of("src_a.A")) == ["src_a", "src_b", "src_c", "src_d"]


@pytest.mark.parametrize("edited", ["src_a", "src_b", "src_c", "src_d"])
def test_an_edit_of_any_module_that_is_reached_counts_and_a_comment_does_not(folder: Path, edited: str) -> None:
    write(folder, src_a="import src_b\n", src_b="try:\n    import src_c\nexcept ImportError:\n    pass\n")
    write(folder, src_c="if True:\n    import src_d\n", src_d="g = 1\n", src_other="g = 1\n")
    before = of("src_a.A")
    path = folder / f"{edited}.py"
    path.write_text("# a comment\n" + path.read_text())
    (folder / "src_other.py").write_text("g = 2\n")
    assert of("src_a.A") == before
    path.write_text(path.read_text() + "h = 2\n")
    after = of("src_a.A")
    assert [module for module in before if before[module] != after[module]] == [edited]


def test_packages_above_and_relative_imports_count(folder: Path) -> None:
    write(folder, lab____init__="from .extra import x\n", lab__extra="x = 1\n", lab__unused="y = 1\n")
    write(
        folder,
        lab__rules____init__="",
        lab__rules__anchor="from . import parts\nfrom ..tools import t\n",
        lab__rules__parts="p = 1",
    )
    write(folder, lab__tools____init__="from .inner import t\n", lab__tools__inner="t = 1\n")
    found = of("lab.rules.anchor.Anchor")
    assert list(found) == ["lab", "lab.extra", "lab.rules.anchor", "lab.rules.parts", "lab.tools", "lab.tools.inner"]


def test_the_names_of_all_and_modules_named_in_quotes_are_followed(folder: Path) -> None:
    write(folder, src_a="from src_p import *\nimport importlib\nx = importlib.import_module('src_q')\n", src_q="q = 1")
    write(folder, src_p____init__="__all__ = ['one']\n", src_p__one="x = 1\n", src_p__two="x = 1\n")
    assert list(of("src_a.A")) == ["src_a", "src_p", "src_p.one", "src_q"]


def test_a_folder_without_init_is_a_package_too(folder: Path) -> None:
    write(folder, src_n__deep__anchor="from src_n.deep import help\n", src_n__deep__help="h = 1\n")
    assert list(of("src_n.deep.anchor.A")) == ["src_n.deep.anchor", "src_n.deep.help"]


def test_nothing_is_imported(folder: Path) -> None:
    write(folder, src_loud____init__="raise RuntimeError('imported')\n", src_loud__anchor="raise RuntimeError('imported')\n")
    assert list(of("src_loud.anchor.A")) == ["src_loud", "src_loud.anchor"]
    assert "src_loud" not in sys.modules


def test_a_module_with_the_name_of_one_of_python_is_ones_own_only_where_python_finds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, src_a="import colorsys\n", colorsys="mine = 1\n")
    assert list(of("src_a.A")) == ["colorsys", "src_a"]
    monkeypatch.setattr(sys, "path", [*(entry for entry in sys.path if entry != str(folder)), str(folder)])
    assert list(of("src_a.A")) == ["src_a"]  # as the command line has it


def installed(site: Path, name: str, **files: str) -> None:
    write(site, **files)
    (site / f"{name}-1.5.dist-info").mkdir(parents=True)
    (site / f"{name}-1.5.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    tops = {each.split("__")[0] for each in files}
    (site / f"{name}-1.5.dist-info" / "RECORD").write_text("".join(f"{top}/__init__.py,,\n" for top in tops))
    (site / f"{name}-1.5.dist-info" / "top_level.txt").write_text("".join(f"{top}\n" for top in tops))


@pytest.fixture
def fresh_metadata() -> None:
    modules._shipped.cache_clear()
    modules.plugins.cache_clear()
    modules._installed.cache_clear()


@pytest.mark.usefixtures("fresh_metadata")
def test_an_installed_plugin_counts_wholly_and_an_installed_library_by_its_version(folder: Path) -> None:
    site = folder / "site"
    sys.path.insert(0, str(site))
    try:
        installed(site, "wheel_lib", wheel_lib____init__="x = 1\n")
        installed(
            site,
            "wheel_plug",
            wheel_plug____init__="from clbench.method import Method\nimport wheel_more, wheel_lib\n",
            wheel_more____init__="m = 1\n",
        )
        assert list(of("wheel_plug.Anchor")) == ["wheel_more", "wheel_plug"]
        assert of("wheel_lib.Net") == {"wheel_lib": "version 1.5"}
    finally:
        sys.path.remove(str(site))


def test_every_node_has_its_own_sources_at_any_depth(folder: Path) -> None:
    write(folder, src_m="m = 1\n", src_s="s = 1\n", src_net="n = 1\n")
    part = {"_target_": "clbench.methods.compose.Compose", "parts": {"mine": {"_target_": "src_m.M"}}}
    scenario = {"_target_": "src_s.stream", "dataset": {"_target_": "clbench.x.Features", "network": "src_net.net"}}
    found: Sources = sources({"method": part, "scenario": scenario, "optimizer": {"_target_": "clbench.x.SGD"}})
    assert {node: list(digests) for node, digests in found.items()} == {"method": ["src_m"], "scenario": ["src_net", "src_s"]}
    assert list(targets(scenario)) == ["src_s.stream", "clbench.x.Features", "src_net.net"]


def test_a_file_that_is_not_python_is_an_error(folder: Path) -> None:
    write(folder, src_a="import src_broken\n", src_broken="def f(:\n")
    with pytest.raises(ConfigError, match=r"src_broken.py, line 1 cannot be read as Python"):
        of("src_a.A")


def test_what_is_not_there_has_no_source(folder: Path) -> None:
    write(folder, src_a="import src_nowhere, src_a.nothing\nfrom .... import x\n")
    assert list(of("src_a.A")) == ["src_a"]
    assert of("src_nowhere.A") == {}


def test_a_class_that_the_session_lacks_has_no_source() -> None:
    assert sources({"method": {"_target_": "__main__.NotThere"}}) == {}
