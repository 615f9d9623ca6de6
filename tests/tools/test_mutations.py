"""The check tells caught from survived."""

import shutil
import subprocess

import pytest

from tools import mutations
from tools.mutation_table import Mutation
from tools.mutations import MutationError, check, tracked


@pytest.fixture(autouse=True)
def nothing_beforehand(monkeypatch):
    """These small trees need no large packages."""
    monkeypatch.setattr(mutations, "LARGE", ())


@pytest.fixture
def tree(tmp_path):
    """A package of that name with one function and its test, in a repository without a commit."""
    files = {
        "clbench/__init__.py": "",
        "clbench/twice.py": "def twice(x):\n    return x + x\n",
        "tests/test_twice.py": "from clbench.twice import twice\n\n\ndef test_twice():\n    assert twice(3) == 6\n",
        "ignored/large.bin": "0",
        ".gitignore": "ignored/\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def change(old, new, test="tests/test_twice.py"):
    return Mutation(new, "clbench/twice.py", old, new, (test,))


def test_what_breaks_the_test_is_caught_and_what_changes_nothing_survives(tree, capsys):
    before = {name: (tree / name).read_text() for name in tracked(tree)}
    wrong, neutral = change("x + x", "x * x"), change("x + x", "2 * x")
    assert check(tree, [wrong, neutral]) == [neutral]
    assert capsys.readouterr().out.split() == ["caught", "x", "*", "x", "SURVIVED", "2", "*", "x"]
    assert {name: (tree / name).read_text() for name in tracked(tree)} == before


def test_ignored_files_stay_behind(tree):
    assert sorted(tracked(tree)) == [".gitignore", "clbench/__init__.py", "clbench/twice.py", "tests/test_twice.py"]


def test_a_tree_without_git_is_an_error(tree):
    shutil.rmtree(tree / ".git")
    with pytest.raises(MutationError, match="must be a git work tree"):
        check(tree, [change("x + x", "x * x")])


@pytest.mark.parametrize(("old", "times"), [("x - x", 0), ("x", 3)])
def test_text_that_is_not_there_exactly_once_is_an_error(tree, old, times):
    with pytest.raises(MutationError, match=f"found {times} times"):
        check(tree, [change(old, "y")])


def test_a_missing_file_is_an_error(tree):
    with pytest.raises(MutationError, match=r"no clbench/thrice.py"):
        check(tree, [Mutation("gone", "clbench/thrice.py", "x", "y", ("tests",))])


def test_tests_that_fail_as_the_source_stands_are_an_error(tree):
    (tree / "clbench/twice.py").write_text("def twice(x):\n    return x + x + 1\n")
    with pytest.raises(MutationError, match="before anything is mutated"):
        check(tree, [change("+ 1", "")])


@pytest.mark.parametrize("mutation", [change("x + x", "(", "tests"), change("x + x", "2 * x", "tests/test_thrice.py")])
def test_tests_that_cannot_run_are_an_error(tree, mutation):
    with pytest.raises(MutationError, match="pytest ended with status"):
        check(tree, [mutation])


def test_a_package_from_elsewhere_is_an_error(tree):
    (tree / "clbench/__init__.py").write_text('__file__ = "/elsewhere/clbench/__init__.py"\n')
    with pytest.raises(MutationError, match=r"would import /elsewhere/clbench/__init__.py"):
        check(tree, [change("x + x", "x * x")])


@pytest.mark.parametrize(("new", "status"), [("x * x", None), ("2 * x", "1 survived"), (None, "found 0 times")])
def test_the_exit_status(tree, monkeypatch, new, status):
    mutation = change("x + x", new) if new else change("x - x", "")
    monkeypatch.setattr(mutations, "ROOT", tree)
    monkeypatch.setattr(mutations, "MUTATIONS", (mutation,))
    monkeypatch.setattr("sys.argv", ["mutations.py"])
    if status is None:
        mutations.main()
    else:
        with pytest.raises(SystemExit, match=status):  # a text as status makes the process end with 1
            mutations.main()


def test_an_unknown_name_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["mutations.py", "ewc-sing"])
    with pytest.raises(SystemExit, match=r"no such mutation: ewc-sing; there are .*ewc-sign"):
        mutations.main()
