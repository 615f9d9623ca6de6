"""The command, as scripts and people call it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from clbench.cli import plot
from clbench.errors import ConfigError
from clbench.leaderboard.rows import rows
from clbench.records import record_files, write
from clbench.store.failures import write_failure
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure
from tests.plots.looks import projected, traced

START = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "my runs"
    for seed in range(2):
        write(projected(seed, scenario="split_digits"), made)
        write(record(seed, method="naive", A=[[90.0], [20.0, 90.0]]), made)
        write(record(seed, scenario="permuted_digits", setting="domain"), made)
    return made


def call(capsys, *arguments):
    """Return (exit status, stdout, stderr)."""
    with pytest.raises(SystemExit) as left:
        plot.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("format", plot.FORMATS)
def test_one_picture_per_row(folder, capsys, format):
    status, out, err = call(capsys, f"results_dir={folder}", f"format={format}")
    assert (status, err) == (0, "")
    stems = ["permuted_digits-domain-er-matrix", "split_digits-class-gpm-matrix", "split_digits-class-naive-matrix"]
    assert out.splitlines() == [str(folder / "plots" / f"{stem}.{format}") for stem in stems]
    assert names(folder / "plots") == [f"{stem}.{format}" for stem in stems]
    assert all(Path(line).read_bytes().startswith(START[format]) for line in out.splitlines())


def test_subspaces_of_the_records_that_have_them(folder, capsys):
    status, out, err = call(capsys, f"results_dir={folder}", "kind=subspaces")
    assert status == 0
    assert out.splitlines() == [str(folder / "plots" / "split_digits-class-gpm-subspaces.png")]
    assert err.splitlines() == ["clbench-plot: skipped 4 records without sizes of subspaces (methods: er, naive)"]


def test_both_kinds_live_in_one_folder(folder, capsys):
    for kind in plot.KINDS:
        call(capsys, f"results_dir={folder}", f"kind={kind}", "method=gpm")
    assert names(folder / "plots") == ["split_digits-class-gpm-matrix.png", "split_digits-class-gpm-subspaces.png"]


def test_no_subspaces_at_all(folder, capsys):
    status, out, err = call(capsys, f"results_dir={folder}", "kind=subspaces", "method=naive,er")
    assert (status, out) == (1, "")
    assert "methods: er, naive" in err
    assert "kind=matrix" in err
    assert not (folder / "plots").exists()


def test_defaults(folder, capsys, monkeypatch):
    folder.rename(folder.parent / "runs")
    monkeypatch.chdir(folder.parent)
    _, out, _ = call(capsys, "method=naive")
    assert out == str(Path("runs/plots/split_digits-class-naive-matrix.png")) + "\n"
    assert Path(out.strip()).is_file()


def test_another_folder_is_made(folder, capsys, tmp_path):
    out = tmp_path / "a" / "b"
    assert call(capsys, f"results_dir={folder}", f"out='{out}'", "method=naive")[0] == 0
    assert names(out) == ["split_digits-class-naive-matrix.png"]
    assert not (folder / "plots").exists()


@pytest.mark.parametrize("format", plot.FORMATS)
def test_records_stay_as_they_are_and_pictures_repeat(folder, capsys, format):
    def state():
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in record_files(folder)}

    before, digests = state(), []
    for _ in range(2):
        for kind in plot.KINDS:
            call(capsys, f"results_dir={folder}", f"out={folder}", f"kind={kind}", f"format={format}", "method=gpm")
        pictures = sorted(folder.glob(f"*.{format}"))
        assert len(pictures) == 2
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures])
    assert state() == before
    assert digests[0] == digests[1]
    assert not list(folder.glob(".*"))


def test_seeds_are_joined_and_an_unfinished_sweep_is_drawn_as_far_as_it_is(folder, capsys):
    (folder / ".checkpoints").mkdir()
    (folder / ".half.json.tmp").write_text("{")
    (folder / "leaderboard.md").write_text("")
    write(record(7, method="naive", A=[[90.0], [20.0, 90.0]]), folder)
    status, out, _ = call(capsys, f"results_dir={folder}")
    assert (status, len(out.splitlines())) == (0, 3)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["method=naive"], 1),
        (["method=naive,gpm"], 2),
        (["method=[er, naive]"], 2),
        (["scenario=split_digits"], 2),
        (["setting=domain", "method=er"], 1),
    ],
)
def test_filters(folder, capsys, filters, count):
    status, out, _ = call(capsys, f"results_dir={folder}", *filters)
    assert (status, len(out.splitlines())) == (0, count)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["method=gmp"], "no records with method=gmp\n  -> did you mean method=gpm? there are: er, gpm, naive"),
        (["method=naive,gmp"], "no records with method=gmp\n"),
        (["setting=task"], "no records with setting=task\n  -> there are: class, domain"),
        (["setting=domain", "method=naive"], "no records with method=naive\n  -> there are: er"),
    ],
)
def test_a_name_that_is_not_there_is_an_error_with_those_that_are(folder, capsys, filters, message):
    status, out, err = call(capsys, f"results_dir={folder}", *filters)
    assert (status, out) == (1, "")
    assert message in err
    assert not (folder / "plots").exists()


def test_damaged_records_among_good_ones(folder, capsys):
    (folder / "damaged.json").write_text('{"format": 1, "id"')
    write(record(9, identity={"names": {}}), folder)
    status, out, err = call(capsys, f"results_dir={folder}")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert err.count("clbench-plot: ") == 2
    assert "damaged.json is damaged" in err
    assert "does not name scenario" in err
    assert "Traceback" not in err


def test_a_row_that_cannot_be_drawn_does_not_stop_the_others(folder, capsys):
    bad = record(0, method="bad")
    del bad.result["columns"]
    write(bad, folder)
    status, out, err = call(capsys, f"results_dir={folder}")
    assert (status, len(out.splitlines())) == (1, 3)
    assert bad.id in err
    assert not list((folder / "plots").glob("*bad*"))


def test_only_damaged_records(tmp_path, capsys):
    (tmp_path / "x.json").write_text("")
    status, out, err = call(capsys, f"results_dir={tmp_path}")
    assert (status, out) == (1, "")
    assert err.count("clbench-plot: ") == 1
    assert "x.json" in err


@pytest.mark.parametrize("kind", plot.KINDS)
def test_no_records(tmp_path, capsys, kind):
    status, out, err = call(capsys, f"results_dir={tmp_path}", f"kind={kind}", "method=er")
    assert (status, out) == (1, "")
    assert f"no records in results_dir={tmp_path}" in err
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path, capsys):
    status, out, err = call(capsys, f"results_dir={tmp_path / 'runs'}")
    assert (status, out) == (1, "")
    assert f"results_dir={tmp_path / 'runs'}" in err


def test_a_folder_that_cannot_be_written(folder, capsys):
    (folder / "plots").write_text("a file")
    status, out, err = call(capsys, f"results_dir={folder}")
    assert (status, out) == (1, "")
    assert "cannot be written" in err
    assert "out=" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("result_dir=x", "did you mean results_dir=...?"),
        ("--format=png", "did you mean format=...?"),
        ("matrix", "unknown argument matrix"),
        ("nonsense=1", "it takes: kind=..., results_dir=..., out=..., format=..., scenario=..., setting=..., method=..., --help"),
        ("kind=pie", "choose one of matrix, subspaces, curves, drift"),
        ("format=jpg", "choose one of png, svg, pdf"),
        ("out=", "out= has no value"),
        ("out=''", "out= has no value"),
    ],
)
def test_bad_arguments(capsys, word, message):
    status, out, err = call(capsys, word)
    assert (status, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        plot.main(["nonsense=1"])


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_key_kind_and_format(capsys, word):
    status, out, _ = call(capsys, "nonsense", word)
    assert status == 0
    assert all(f"{key}=" in out for key in plot.KEYS)
    assert all(word in out for word in (*plot.KINDS, *plot.FORMATS))


def test_without_matplotlib_the_remedy_is_named(folder, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = call(capsys, f"results_dir={folder}")
    assert (status, out) == (1, "")
    assert "pip install 'clbench[plot]'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "loaded"), [(["--help"], "[]"), (["method=nonsense"], "[]"), (["method=naive"], "['matplotlib', 'numpy']")]
)
def test_matplotlib_is_loaded_only_to_draw_and_nothing_else_that_is_slow(folder, words, loaded):
    program = (
        "import sys; from clbench.cli.plot import main\n"
        "slow = {'torch', 'scipy', 'pandas', 'hydra', 'matplotlib', 'matplotlib.pyplot', 'numpy'}\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", program, f"results_dir={folder}", *words]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={"MPLBACKEND": "TkAgg"})
    assert done.stderr.splitlines()[-1] == loaded


def test_settings_of_matplotlib_are_left_alone_and_those_of_the_user_do_no_harm(folder, capsys, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    before = dict(matplotlib.rcParams)
    made = traced()
    made.result["partition"] = [["3 1", "0 4"]] * 3
    write(made, folder)
    for kind in plot.KINDS:
        assert call(capsys, f"results_dir={folder}", f"kind={kind}")[0] == 0
    assert dict(matplotlib.rcParams) == before


def test_file_names_are_unique_and_safe():
    many = [
        record(),
        record(variant="buffer_size=50, lr=0.1", identity={"x": 1}),
        record(model="lenet"),
        record(names={"server": "fedavg"}),
        record(method="ER", variant="buffer_size=50, lr=0.1"),
        record(method="a/b c", variant="$x: …"),
        record(method="long", variant="x=" + "1" * 300),
        record(method="long", variant="x=" + "1" * 301, identity={"x": 1}),
    ]
    made = plot.file_names(rows(many))
    assert [made[each.config_id] for each in many[:4]] == [
        "split_digits-class-er-mlp",
        "split_digits-class-er-buffer_size=50_lr=0.1-mlp-" + many[1].config_id,  # next to ER
        "split_digits-class-er-lenet",
        "split_digits-class-er-fedavg",
    ]
    assert len({name.casefold() for name in made.values()}) == len(many)
    assert made[many[5].config_id] == "split_digits-class-a_b_c-x"
    assert all(len(name) < 150 and set(name) <= set(map(chr, range(43, 123))) - set("/:;<>?@[]^`\\,") for name in made.values())


def test_a_filter_changes_no_name(folder, capsys):
    write(record(0, method="naive", model="lenet"), folder)
    every = call(capsys, f"results_dir={folder}")[1].splitlines()
    some = call(capsys, f"results_dir={folder}", "method=naive")[1].splitlines()
    assert len(some) == 2
    assert set(some) < set(every)


def test_rows_without_any_record_are_named_and_the_others_drawn(folder, capsys):
    write_failure(failure(0, method="lwf"), folder)
    status, out, err = call(capsys, f"results_dir={folder}", "setting=class")
    assert status == 0
    assert len(out.splitlines()) == 2
    assert err == (
        "clbench-plot: not drawn, all seeds failed: split_digits lwf: diverged (seed 0): the loss became nan in task 1\n"
    )
    status, out, err = call(capsys, f"results_dir={folder}", "method=lwf")
    assert (status, out) == (1, "")
    assert "all runs of these rows failed" in err
