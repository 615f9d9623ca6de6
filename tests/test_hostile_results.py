"""A results folder with hostile files: every command goes on, says one line for each, and shows every good record."""

import json
import os
from pathlib import Path

import pytest

import clbench
from clbench.cli import leaderboard, plot
from clbench.records import read, record_path, write
from clbench.runner.outcome import Status
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from clbench.store.failures import failure_path
from tests.leaderboard.factory import record
from tests.plots.looks import projected
from tests.runner.run_functions import make_spec
from tools.safety.hostile_files import FILES

KINDS = ("pipe", "folder", "socket", "link to an endless device", "link to nothing", "a terabyte of zeros", "deep lists", "cut")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "my runs"
    for seed in range(2):
        write(record(seed), made)
        write(projected(seed), made)
    for kind in KINDS:
        FILES[kind](made / f"{kind}.json", {"seed": 0})
    (made / "a\nb\x1b[31m.json").write_text("{}")
    (made / os.fsdecode(b"\xff.json")).write_text("{}")
    return made


def call(command, capsys, *arguments):
    """Return (exit status, stdout, stderr)."""
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def is_one_line_each(text):
    lines = text.splitlines()
    assert len(lines) == len(KINDS) + 2
    assert all("left out: " in line and " -> " in line and line.isprintable() for line in lines)
    assert [sum(f"{kind}.json" in line for line in lines) for kind in KINDS] == [1] * len(KINDS)
    return True


def test_the_leaderboard(folder, capsys):
    status, out, err = call(leaderboard, capsys, f"results_dir={folder}", "format=json")
    assert status == 1
    assert sorted(row["method"] for row in json.loads(out)) == ["er", "gpm"]
    assert is_one_line_each(err)


def test_loading_in_python(folder):
    with pytest.warns(UserWarning, match="left out: ") as caught:
        found = clbench.load(folder)
    assert len(found) == 4
    assert len(found.to_frame()) == 4
    assert is_one_line_each("\n".join(str(each.message) for each in caught))


@pytest.mark.parametrize("kind", ["matrix", "subspaces"])
def test_pictures(folder, capsys, kind):
    status, out, err = call(plot, capsys, f"results_dir={folder}", f"kind={kind}")
    assert status == 1
    assert len(out.splitlines()) == (2 if kind == "matrix" else 1)
    assert is_one_line_each("\n".join(line for line in err.splitlines() if "skipped" not in line))


def test_odd_diagnostics_cost_one_record_of_a_picture(tmp_path, capsys):
    good, odd, alone = (record(seed, method=method) for seed, method in ((0, "er"), (1, "er"), (0, "naive")))
    for each in (good, odd, alone):
        each.result["diagnostics"] = [{"drift": {"layer": {"weights": 0.5}}}] * 2
        if each is not good:
            each.result["diagnostics"][0] = {"drift": {"layer": "text"}}
        write(each, tmp_path)
    status, out, err = call(plot, capsys, f"results_dir={tmp_path}", "kind=drift")
    assert status == 1
    assert [os.path.basename(line) for line in out.splitlines()] == ["split_digits-class-er-drift.png"]
    assert len(err.splitlines()) == 2
    assert all(f"left out: the record {each.id} cannot be drawn" in err for each in (odd, alone))


@pytest.mark.parametrize("letters", [2_000, 50_000])
def test_a_name_of_any_length_is_shortened_in_a_picture(tmp_path, capsys, letters):
    wide = record(0)
    wide.result["columns"].append({"name": "x" * letters, "role": "utility", "metric": "accuracy"})
    for row in wide.result["matrix"]:
        row.append([1, 2])
    write(wide, tmp_path)
    status, out, err = call(plot, capsys, f"results_dir={tmp_path}")
    assert (status, err) == (0, "")
    assert Path(out.strip()).stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "kind", [*KINDS, "infinity as 1e999", "half a surrogate pair", "a million digits", "copy of another record"]
)
def test_a_sweep_with_a_hostile_record_of_its_own(tmp_path, kind):
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    path = record_path(tmp_path, specs[1].id)
    FILES[kind](path, {"identity": {"names": {}, "seed": 3}})
    trained, kept = run_specs(specs, Display(), 0, "tests.runner.run_functions.good")
    assert (trained.status, kept.status) == (Status.DONE, Status.FAILED)
    assert read(record_path(tmp_path, specs[0].id)).result["value"] == 0
    assert path.name in kept.reason
    assert "out of the results folder" in kept.remedy
    assert (kept.reason + kept.remedy).isprintable()
    assert os.path.lexists(path)
    assert not failure_path(tmp_path, specs[1].id).exists()


def test_a_sweep_after_its_remedy(tmp_path):
    (spec,) = [make_spec(tmp_path, 0)]
    path = record_path(tmp_path, spec.id)
    os.mkfifo(path)
    assert run_specs([spec], Display(), 0, "tests.runner.run_functions.good")[0].status is Status.FAILED
    path.rename(tmp_path.parent / "moved")
    assert run_specs([spec], Display(), 0, "tests.runner.run_functions.good")[0].status is Status.DONE


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to an endless device", "link to nothing", "cut", "open lists"])
def test_a_hostile_failure_of_a_run_does_not_stop_it(tmp_path, kind):
    spec = make_spec(tmp_path, 0)
    path = failure_path(tmp_path, spec.id)
    path.parent.mkdir()
    FILES[kind](path, {})
    assert run_specs([spec], Display(), 0, "tests.runner.run_functions.good")[0].status is Status.DONE
    assert run_specs([spec], Display(), 0, "tests.runner.run_functions.must_not_run")[0].status is Status.PRESENT


def test_a_run_in_python_whose_record_has_no_matrix(tmp_path):
    words = {"scenario": "split_digits", "method": "naive", "seeds": 1, "results_dir": tmp_path, "workers": 0, "progress": False}
    overrides = ["trainer.epochs=1", "device=cpu", "logger=none"]
    (found,) = clbench.run(**words, overrides=overrides)
    path = record_path(tmp_path, found.id)
    path.unlink()
    del found.result["matrix"]
    write(found, tmp_path)
    with pytest.warns(UserWarning, match=f"left out: the record {found.id} cannot be shown"):
        again = clbench.run(**words, overrides=overrides)
    assert (len(again), len(again.to_frame())) == (0, 0)
