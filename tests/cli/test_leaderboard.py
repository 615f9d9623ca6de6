"""The command, as scripts and people call it."""

import json
import os
import subprocess
import sys

import pytest

from clbench.cli import leaderboard
from clbench.errors import ConfigError
from clbench.leaderboard.rows import rows
from clbench.records import write
from clbench.store.failures import write_failure
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "my runs"
    for seed in range(2):
        write(record(seed), made)
        write(record(seed, method="naive", A=[[90.0], [20.0, 90.0]]), made)
        write(record(seed, scenario="permuted_digits", setting="domain"), made)
    return made


def call(capsys, *arguments):
    """Return (exit status, stdout, stderr)."""
    with pytest.raises(SystemExit) as left:
        leaderboard.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_json(folder, capsys):
    status, out, err = call(capsys, f"results_dir={folder}", "format=json")
    assert (status, err) == (0, "")
    assert [(row["scenario"], row["method"], row["n_seeds"]) for row in json.loads(out)] == [
        ("permuted_digits", "er", 2),
        ("split_digits", "er", 2),
        ("split_digits", "naive", 2),
    ]


@pytest.mark.parametrize(
    ("format", "mark"), [("markdown", "| method |"), ("csv", "scenario,setting,"), ("latex", r"\toprule"), ("table", "────")]
)
def test_formats(folder, capsys, format, mark):
    status, out, err = call(capsys, f"results_dir={folder}", f"format={format}")
    assert (status, err) == (0, "")
    assert mark in out


def test_default_format_follows_where_it_goes(folder, capsys, monkeypatch):
    assert "| method |" in call(capsys, f"results_dir={folder}")[1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "────" in call(capsys, f"results_dir={folder}")[1]


def test_default_folder(folder, capsys, monkeypatch):
    folder.rename(folder.parent / "runs")
    monkeypatch.chdir(folder.parent)
    assert len(json.loads(call(capsys, "format=json")[1])) == 3


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["method=er"], 2),
        (["method=er,naive"], 3),
        (["method=[er,naive]", "scenario=split_digits"], 2),
        (["setting=domain"], 1),
        (["setting=domain", "method=naive"], 0),
    ],
)
def test_filters(folder, capsys, filters, count):
    status, out, _ = call(capsys, f"results_dir={folder}", "format=json", *filters)
    assert status == 0
    assert len(json.loads(out)) == count


def test_a_filter_that_matches_nothing_names_what_there_is(folder, capsys):
    status, out, err = call(capsys, f"results_dir={folder}", "format=json", "method=gmp")
    assert (status, json.loads(out)) == (0, [])
    assert "no records with method=gmp; there are: er, naive" in err


@pytest.mark.parametrize("quoted", ["results_dir='{}'", 'results_dir="{}"'])
def test_quotes_as_in_hydra(folder, capsys, quoted):
    assert len(json.loads(call(capsys, quoted.format(folder), "format=json")[1])) == 3


def test_a_damaged_record_among_good_ones(folder, capsys):
    (folder / "damaged.json").write_text('{"format": 1, "id"')
    (folder / "foreign.json").write_text('{"hello": "world"}')
    write(record(9, identity={"names": {}}), folder)
    status, out, err = call(capsys, f"results_dir={folder}", "format=json")
    assert status == 1
    assert len(json.loads(out)) == 3
    messages = [line for line in err.splitlines() if line.startswith("clbench-leaderboard: ")]
    assert len(messages) == 3
    assert "damaged.json is damaged" in err
    assert "foreign.json is not a clbench record" in err
    assert "does not name scenario" in err
    assert "Traceback" not in err


def test_only_damaged_records(tmp_path, capsys):
    (tmp_path / "x.json").write_text("")
    status, out, err = call(capsys, f"results_dir={tmp_path}", "format=json")
    assert (status, json.loads(out)) == (1, [])
    assert "x.json" in err


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_cannot_be_read(tmp_path, capsys, kind):
    path = tmp_path / "runs"
    if kind == "file":
        path.write_text("")
    status, out, err = call(capsys, f"results_dir={path}", "format=json")
    assert (status, out) == (1, "")
    assert err.count("clbench-leaderboard:") == 1
    assert f"results_dir={path}" in err


def test_an_empty_folder(tmp_path, capsys):
    status, out, err = call(capsys, f"results_dir={tmp_path}", "format=json")
    assert (status, json.loads(out)) == (0, [])
    assert f"no records in results_dir={tmp_path}" in err
    assert call(capsys, f"results_dir={tmp_path}")[:2] == (0, "No records yet.\n")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("result_dir=x", "did you mean results_dir=...?"),
        ("--format=json", "did you mean format=...?"),
        ("json", "unknown argument json"),
        ("nonsense=1", "it takes: results_dir=..., format=..., scenario=..., setting=..., method=..., --help"),
        ("format=xml", "choose one of table, markdown, csv, json, latex"),
        ("results_dir=", "results_dir= has no value"),
        ("results_dir=''", "results_dir= has no value"),
    ],
)
def test_bad_arguments(capsys, word, message):
    status, out, err = call(capsys, word)
    assert (status, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


def test_traceback_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        leaderboard.main(["nonsense=1"])


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_key_and_format(capsys, word):
    status, out, _ = call(capsys, "nonsense", word)
    assert status == 0
    assert all(f"{key}=" in out for key in leaderboard.KEYS)
    assert all(format in out for format in ("table", *leaderboard.FORMATS))


def test_as_a_process_without_heavy_imports(folder):
    """What makes the command start at once: none of the slow packages is imported for JSON."""
    program = (
        "import sys; from clbench.cli.leaderboard import main\n"
        "slow = {'torch', 'numpy', 'scipy', 'pandas', 'hydra', 'rich'}\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*slow & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"results_dir={folder}", "format=json"], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""
    assert len(json.loads(done.stdout)) == 3


def test_a_reader_that_stops_early(folder):
    """As with `| head`: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "clbench.cli.leaderboard", f"results_dir={folder}", "format=json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_same_rows_as_in_python(folder, capsys):
    from clbench.leaderboard.results import load

    out = call(capsys, f"results_dir={folder}", "format=json")[1]
    assert json.loads(out) == load(folder).rows() == rows(load(folder))


def test_failed_runs_are_rows_and_damaged_ones_are_named(folder, capsys):
    write_failure(failure(2), folder)
    status, out, err = call(capsys, f"results_dir={folder}", "format=json", "scenario=split_digits")
    assert (status, err) == (0, "")
    assert [(row["method"], row["n_seeds"], row["n_failed"]) for row in json.loads(out)] == [("naive", 2, 0), ("er", 2, 1)]
    path = write_failure(failure(3), folder)
    path.write_text("{}")
    status, _, err = call(capsys, f"results_dir={folder}", "format=json")
    assert status == 1
    assert str(path) in err
    assert "delete the file" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["my runs"], "did you mean results_dir=my runs?"),
        (["--format=csv"], "Write format=csv."),
        (["--results_dir", "out"], "Write results_dir=out."),
        (["results_dir", "=", "out"], "Write results_dir=out."),
        (["method:er"], "Write method=er."),
        (["mehtod=er"], "Write method=er."),
        (["–h"], "did you mean --help?"),
        (["format=cvs"], "did you mean format=csv?"),
        (["results_dir=my runs", "scenario=split_dgiits"], "did you mean scenario=split_digits?"),
        (["results_dir=my runs", "method=navie"], "did you mean method=naive?"),
    ],
)
def test_a_mistyped_word_gets_its_right_spelling(capsys, folder, monkeypatch, words, said):
    monkeypatch.chdir(folder.parent)
    _, out, err = call(capsys, *words)
    assert said in out + err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_table_is_printed_in_every_encoding(folder, encoding):
    write_failure(failure(5), folder)
    command = [sys.executable, "-m", "clbench.cli.leaderboard", f"results_dir={folder}", "format=table"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": encoding, "COLUMNS": "40"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "naive" in text
    assert ("†" in text) == (encoding == "utf-8")


def test_messages_of_hostile_arguments_are_text(folder, capsys):
    status, _, err = call(capsys, f"results_dir={folder}", "method=\x1b[2Jer\u202e")
    assert "\x1b" not in err
    assert "\u202e" not in err
    assert r"\x1b[2Jer\u202e" in err
    status, _, err = call(capsys, "\x1b]0;title\x07=1")
    assert status == 1
    assert err.startswith(r"clbench-leaderboard: unknown argument \x1b]0;title\x07=1")
