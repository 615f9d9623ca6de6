"""The command, on an experiment of one's own."""

import os

import pytest

from clbench.cli import reproduce
from clbench.records import record_files

EXPERIMENT = """\
# @package _global_
defaults: [override /method: naive, override /scenario: split_digits]
seeds: 2
trainer: {epochs: 1}
published:
  title: SGD
  source: A paper
  n: 3
  accuracy: {class: 19.0, task: 12.0}
  std: {class: 0.5}
  std_source: another paper
  reason: {task: the paper measured something else}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    return tmp_path


def call(capsys, *arguments):
    """Return (exit status, stdout, stderr)."""
    with pytest.raises(SystemExit) as left:
        reproduce.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_it_trains_judges_and_writes_the_page_and_the_second_time_only_judges(mine, capsys):
    words = ("config_dir=conf", "experiments=mine", "results_dir=out", "page=out/page.md", "workers=2")
    status, out, _ = call(capsys, *words)
    assert status == 0
    assert len(record_files(mine / "out")) == 4
    page = (mine / "out" / "page.md").read_text()
    (of_class, of_task) = [line for line in page.splitlines() if line.startswith("| `mine`")]
    assert "19.00 ± 0.50 (n=3)" in of_class
    assert "inside" in of_class
    assert "**above** | the paper measured something else" in of_task
    assert "## A paper" in page
    assert "Standard deviations from another paper: `mine` class." in page
    assert "2 rows judged: 1 inside (50 %), 1 above, 0 below" in page
    assert of_task in out
    status, out, _ = call(capsys, *words)
    assert status == 0
    assert "Nothing to train" in out
    assert (mine / "out" / "page.md").read_text() == page


def test_a_record_that_cannot_be_read_costs_its_row_a_verdict_and_one_line(mine, capsys):
    words = ("config_dir=conf", "experiments=mine", "results_dir=out", "page=out/page.md", "workers=2")
    assert call(capsys, *words)[0] == 0
    path = record_files(mine / "out")[0]
    good = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    status, _, err = call(capsys, *words, "train=false")
    assert status == 1
    (line,) = [line for line in err.splitlines() if "left out: " in line]
    assert path.name in line
    assert "it is a pipe" in line
    page = (mine / "out" / "page.md").read_text()
    assert page.count("**failed seeds**") == 1
    path.unlink()
    path.write_bytes(good)
    assert call(capsys, *words, "train=false")[0] == 0


def test_judging_alone_trains_nothing(mine, capsys):
    status, out, _ = call(
        capsys, "config_dir=conf", "experiments=mine", "results_dir=out", "page=page.md", "train=false", "seeds=1"
    )
    assert status == 0
    assert out.count("| not run |") == 2
    assert not (mine / "out").exists()


def test_rows_for_a_gpu_are_left_to_machines_that_have_one(mine, capsys):
    file = mine / "conf" / "experiment" / "mine.yaml"
    file.write_text(file.read_text() + "  gpu: true\n")
    status, out, _ = call(capsys, "config_dir=conf", "experiments=mine", "results_dir=out", "page=page.md", "gpu=false")
    assert status == 0
    assert out.count("needs a GPU") == 2


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("experiment=mine", "did you mean experiments="),
        ("train=maybe", "unknown train=maybe\n  -> choose one of true, false"),
        ("workers=many", "a number of processes"),
        ("experiments=", "no value"),
        ("experiments=theirs", "matches none"),
    ],
)
def test_bad_arguments(mine, capsys, word, answer):
    status, _, err = call(capsys, word)
    assert status == 1
    assert answer in err
    assert "Traceback" not in err


def test_help(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert "clbench-reproduce experiments=" in out
