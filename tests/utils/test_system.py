"""What the machine says it has left."""

import pytest

from clbench.utils import system

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n"
AVAILABLE = 20_000_000 * 1024


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(system, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(system, "CGROUP", tmp_path)
    return tmp_path


def test_without_a_limit_it_is_what_the_kernel_holds_available(folder):
    assert system.available_memory() == AVAILABLE
    (folder / "memory.max").write_text("max\n")
    assert system.available_memory() == AVAILABLE


def test_a_container_leaves_less(folder):
    (folder / "memory.max").write_text("1000000\n")
    (folder / "memory.current").write_text("700000\n")
    (folder / "memory.stat").write_text("anon 300000\ninactive_file 400000\nactive_file 0\n")
    assert system.available_memory() == 700_000
    (folder / "memory.current").write_text("9000000\n")
    assert system.available_memory() == 0
    (folder / "memory.max").write_text(f"{10 * AVAILABLE}\n")
    assert system.available_memory() == AVAILABLE


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemAvailable: much kB\n", "MemAvailable:\n"])
def test_a_system_that_does_not_say(folder, text):
    (folder / "meminfo").write_text(text)
    assert system.available_memory() is None
    (folder / "meminfo").unlink()
    assert system.available_memory() is None
