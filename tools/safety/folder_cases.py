"""Cases of `tools.safety.disks`: values that name no folder, and folders without permission."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from clbench.api import run
from clbench.cli import leaderboard, plot, reproduce
from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.errors import ClbenchError
from clbench.leaderboard.results import load
from clbench.records import load_all
from tools.safety.small_disks import OBEDIENT, Case, Place, wrong

REFUSED = (
    "",
    " ",
    "null",
    "[a,b]",
    "[a]",
    "a,b",
    "???",
    "'x '",
    "' x'",
    '"a\nb"',
    "'a\tb'",
    "~nobody-of-that-name/x",
    "$CLBENCH_NOT_SET/x",
)
"""Values of results_dir that are refused, as words of a command line."""
LONG = ("x" * 300, "/".join(["x" * 200] * 25))
EXPANDED = {
    "~/x": "{home}/x",
    "'~/x'": "{home}/x",
    "$HOME/x": "{home}/x",
    "${{HOME}}/x": "{home}/x",
    "../x": "../x",
    "a b": "a b",
    "~": "{home}",
}
"""Values that are expanded, and into what."""


def _clbench(word: str) -> str:
    composer = new_composer()
    return make_job(composer([f"results_dir={word}"]), composer).results_dir


READERS: dict[str, Callable[[str], str]] = {
    "clbench": _clbench,
    "clbench-leaderboard": lambda word: leaderboard.COMMAND.parse([f"results_dir={word}"])["results_dir"],
    "clbench-plot": lambda word: plot.COMMAND.parse([f"results_dir={word}"])["results_dir"],
    "clbench-reproduce": lambda word: reproduce.COMMAND.parse([f"results_dir={word}"])["results_dir"],
}


def values(place: Place) -> list[str]:
    """All commands refuse and expand the same values of results_dir."""
    found = []
    home = os.path.expanduser("~")
    for word in (*REFUSED, *LONG):
        for name, read in READERS.items():
            try:
                found.append(f"{name} takes results_dir={word!r} as {read(word)!r}")
            except ClbenchError as error:
                found += _unclear(error, f"{name} results_dir={word!r}"[:100])
            except Exception as error:
                found.append(f"{name} results_dir={word!r}: {type(error).__name__}: {error}"[:300])
    for word, expected in EXPANDED.items():
        for name, read in READERS.items():
            got = read(word.format())
            if got != expected.format(home=home):
                found.append(f"{name} takes results_dir={word!r} as {got!r}")
    return found


def python_values(place: Place) -> list[str]:
    """`clbench.load` and `clbench.run` refuse what the commands refuse."""
    found = []
    given: tuple[object, ...] = (
        None,
        "",
        " ",
        ["a", "b"],
        5,
        True,
        b"x",
        "a\0b",
        "a\nb",
        "x ",
        "$CLBENCH_NOT_SET",
        "x" * 300,
        "\udcff",
    )
    functions: dict[str, Callable[[Any], object]] = {"load": load, "run": lambda value: run(results_dir=value, progress=False)}
    for name, function in functions.items():
        for value in given[name == "run" :]:  # for `run` None means the default
            try:
                function(value)
                found.append(f"{name} takes {value!r}")
            except ClbenchError as error:
                found += _unclear(error, f"{name}({value!r})"[:100])
            except Exception as error:
                found.append(f"{name}({value!r}): {type(error).__name__}: {error}"[:300])
    return found


def _unclear(error: ClbenchError, where: str) -> list[str]:
    text = str(error)
    good = error.remedy and text.isprintable() is False and len(text.splitlines()) <= 2
    return [] if good else [f"{where}: the message is not one line with a remedy: {text!r}"]


def places(place: Place, how: str) -> list[str]:
    """The folder is a file, below a file, a dangling link, or a loop of links: refused in one line by all commands."""
    inside = place.folder / "here"
    given = {"file": "here", "below": "here/x", "dangling": "here", "loop": "here"}[how]
    if how in ("file", "below"):
        inside.touch()
    else:
        inside.symlink_to("nowhere" if how == "dangling" else "here")
    words = f"results_dir={given}"
    found = wrong(place.clbench(words), 1, words, "choose another results_dir")
    found += wrong(place.clbench("-m", words), 1, words, "choose another results_dir")
    for module in ("leaderboard", "plot"):
        found += wrong(place.clbench(words, module=module), 1, words)
    return found


def permissions(place: Place) -> list[str]:
    """A folder that may be read but not written."""
    place.clbench("results_dir=r")
    (place.folder / "r" / "leaderboard.md").unlink()
    for path in (place.folder / "r" / ".checkpoints", place.folder / "r"):
        path.chmod(0o555)
    there = partial(place.clbench, "results_dir=r", before=OBEDIENT)
    found = wrong(there(), 0, "Nothing to train", "leaderboard.md", "not updated: ", "Permission denied")
    found += wrong(there("seeds=2"), 1, "results_dir=r cannot be written: Permission denied", "check the permissions of")
    found += wrong(there(module="leaderboard"), 0, "naive")
    return found + wrong(there(module="plot"), 1, "Permission denied", "out=")


def unreadable(place: Place) -> list[str]:
    """A folder that may not be entered."""
    place.clbench("results_dir=a/r")
    (place.folder / "a").chmod(0)
    found = []
    for module in ("main", "leaderboard", "plot"):
        said = place.clbench("results_dir=a/r", module=module, before=OBEDIENT)
        found += wrong(said, 1, "results_dir=a/r cannot be read: Permission denied")
    return found


def single_files(place: Place) -> list[str]:
    """leaderboard.md is a folder, failed is a file, .checkpoints is a file, .lock is a folder."""
    folder = place.folder / "r"
    (folder / "leaderboard.md").mkdir(parents=True)
    (folder / ".lock").mkdir()
    (folder / "failed").touch()
    found = wrong(place.clbench("results_dir=r"), 0, "1 trained", "not updated", "leaderboard.md")
    other = place.folder / "s"
    other.mkdir()
    (other / ".checkpoints").touch()
    return found + wrong(place.clbench("results_dir=s"), 1, ".checkpoints is a file", "remove it")


def home(place: Place) -> list[str]:
    """HOME is not set, does not exist, or cannot be written: a run that needs no cache does not care."""
    found = []
    for value in ("", "/nonexistent", "/proc"):
        found += wrong(place.clbench(f"results_dir=r{len(value)}", env={"HOME": value, "CLBENCH_DATA": ""}), 0, "1 trained")
    said = place.clbench("results_dir=s", shell="unset HOME; %")
    return found + wrong(said, 0, "1 trained")


def expansion(place: Place) -> list[str]:
    """`~` is one folder for all commands, also for a sweep; no folder with that name is made."""
    env = {"HOME": str(place.folder / "home")}
    (place.folder / "home").mkdir()
    found = wrong(place.clbench("-m", "results_dir=~/x", env=env), 0, "1 trained")
    found += wrong(place.clbench("results_dir=$HOME/x", env=env), 0, "Nothing to train")
    found += wrong(place.clbench("results_dir=~/x", module="leaderboard", env=env), 0, "naive")
    found += wrong(place.clbench(module="import clbench; print(clbench.load('~/x'))", env=env), 0, "1 records")
    strays = [path.name for path in place.folder.iterdir() if path.name != "home"]
    found += [f"made: {strays}"] * bool(strays)
    return found + ["no record in the home folder"] * (not load_all(Path(env["HOME"]) / "x")[0])


def data_folders(place: Place) -> list[str]:
    """Folders of data: a value that names none is refused, and `~` is expanded."""
    found = []
    composer = new_composer()
    for word in ("data.root=[a]", "data.root=' '", "data.root=$CLBENCH_NOT_SET", "data.root=5"):
        try:
            make_job(composer([word]), composer)
            found.append(f"takes {word}")
        except ClbenchError as error:
            found += _unclear(error, word)
    search = make_job(composer(["data.root='~/a:$HOME/b'"]), composer).execution.search
    expected = [os.path.expanduser("~/a"), os.path.expanduser("~/b")]
    return found + [f"data.root is read as {search}"] * (search != expected)


CASES = (
    Case("values", "results_dir of all commands", values, True, "", (len(REFUSED) + len(LONG) + len(EXPANDED)) * len(READERS)),
    Case("values", "clbench.load and clbench.run", python_values, True, "", 25),
    Case("values", "data folders", data_folders, True, "", 5),
    Case("values", "home folder", expansion, False, "", 4),
    *(Case("places", how, partial(places, how=how), how == "loop", "", 4) for how in ("file", "below", "dangling", "loop")),
    Case("places", "files in the way", single_files, False, "", 4),
    Case("permissions", "read-only folder", permissions, False, "drop", 4),
    Case("permissions", "closed folder", unreadable, False, "drop", 3),
    Case("places", "no home", home, False, "", 4),
)
