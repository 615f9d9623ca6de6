"""Cases of `tools.safety.disks`: disks that are full, read-only, faulty or gone."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import partial
from pathlib import Path

from clbench.records import load_all
from tools.safety.small_disks import Case, Place, Said, fill, wrong

TWO = ("-m", "scenario=split_digits,permuted_digits")
"""Two runs."""


def _saboteur(place: Place, command: str, task: int = 1) -> list[str]:
    given = {"command": f"cd {shlex.quote(str(place.folder))} && {command}", "done": str(place.folder / "done")}
    words = [f'+logger.s.{key}="{value}"' for key, value in given.items()]
    return ["+logger.s._target_=tools.safety.saboteur.Saboteur", f"+logger.s.task={task}", *words]


def _trained(folder: Path) -> int:
    return len(load_all(folder)[0])


def full_from_the_start(place: Place) -> list[str]:
    """Nothing is trained; leaderboard and plot say the same."""
    disk = place.disk()
    fill(disk)
    found = wrong(place.clbench(*TWO, f"results_dir={disk}/r"), 1, f"the disk {disk} is full (0 B of 1.0 MiB free)", "free space")
    program = f"import clbench; clbench.run(results_dir='{disk}/r', workers=0)"
    said = place.clbench(
        module=f"from clbench.errors import ClbenchError\ntry:\n    {program}\nexcept ClbenchError as e:\n    print(e)"
    )
    return found + wrong(said, 0, f"the disk {disk} is full")


def full_on_the_way(place: Place, workers: int, task: int) -> list[str]:
    """The disk fills up after a task: one message, no further run; after room was made the same command completes."""
    disk = place.disk(size="2m")
    words = (*TWO, f"results_dir={disk}/r", f"runner.workers={workers}")
    said = place.clbench(*words, *_saboteur(place, "dd if=/dev/zero of=disk/filling bs=4k status=none", task))
    found = wrong(said, 1, f"the disk {disk} is full (", "not begun: 1 run")
    if said.text.count("is full (") > 3:
        found.append(f"the message comes {said.text.count('is full (')} times")
    (disk / "filling").unlink()
    found += wrong(place.clbench(*words), 0, "2 trained")
    left = [path.name for path in disk.rglob("*.tmp")]
    return found + [f"left behind: {left}"] * bool(left)


def record_without_checkpoint(place: Place) -> list[str]:
    """After the last task there is room for the record, but not for the checkpoint: nothing is lost."""
    disk = place.disk(size="2m")
    room = "dd if=/dev/zero of=disk/filling bs=4k status=none; truncate -s -24k disk/filling"
    said = place.clbench(f"results_dir={disk}/r", *_saboteur(place, room, 4))
    return wrong(said, 0, "1 trained", "the record is smaller") + [f"{_trained(disk / 'r')} records"] * (
        _trained(disk / "r") != 1
    )


def no_inode(place: Place) -> list[str]:
    """A disk with room, but without free entries for files."""
    disk = place.disk(options="nr_inodes=4")
    return wrong(place.clbench(f"results_dir={disk}/r"), 1, f"the disk {disk} has room for no more files", "delete files")


def too_large(place: Place) -> list[str]:
    """The process may write small files only (ulimit -f): the checkpoint is too large."""
    said = place.clbench("results_dir=r", shell="ulimit -f 20; %")
    return wrong(said, 1, "may not be so large", "20.0 KiB", "ulimit -f unlimited")


def read_only(place: Place) -> list[str]:
    """With all records there: nothing to train, and tables; with a run missing: refused before training."""
    disk = place.disk()
    place.clbench(f"results_dir={disk}/r")
    (disk / "r" / "leaderboard.md").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    there = f"results_dir={disk}/r"
    found = wrong(place.clbench(there), 0, "Nothing to train", "leaderboard.md", "not updated", "can only be read")
    found += wrong(place.clbench("-m", there), 0, "Nothing to train")
    found += wrong(place.clbench("seeds=2", there), 1, f"the disk {disk} can only be read", "choose another results_dir")
    found += wrong(place.clbench(there, module="leaderboard"), 0, "naive")
    found += wrong(place.clbench(there, "out=pictures", module="plot"), 0, "pictures/")
    found += wrong(place.clbench(there, module="plot"), 1, f"the disk {disk} can only be read", "out=")
    return found + wrong(place.clbench(module=f"import clbench; print(clbench.load('{disk}/r'))"), 0, "1 records")


def gone(place: Place, command: str, workers: int) -> list[str]:
    """The results folder is removed, renamed or replaced while a run is under way: said once, and not made again."""
    said = place.clbench(*TWO, "results_dir=r", f"runner.workers={workers}", *_saboteur(place, command))
    found = wrong(said, 1, "results_dir=r is gone", "not begun: 1 run")
    made = list((place.folder / "r").glob("*")) if (place.folder / "r").is_dir() else []
    return found + [f"made again: {made}"] * bool(made)


def unmounted(place: Place) -> list[str]:
    """The disk with the results is unmounted while a run is under way: nothing goes to the folder below."""
    disk = place.disk()
    said = place.clbench(*TWO, f"results_dir={disk}", "runner.workers=1", *_saboteur(place, "umount -l disk"))
    left = [path.name for path in disk.iterdir() if path.name != ".lock"]
    return wrong(said, 1, "is gone", "not begun: 1 run") + [f"made in the empty folder: {left}"] * bool(left)


def checkpoints_gone(place: Place) -> list[str]:
    """The folder of checkpoints alone is removed: the runs go on."""
    return wrong(place.clbench(*TWO, "results_dir=r", *_saboteur(place, "rm -rf r/.checkpoints")), 0, "2 trained")


def record_gone(place: Place) -> list[str]:
    """A record is removed while the command is under way: the command does not end as if it were there."""
    place.clbench("results_dir=r")
    said = place.clbench("results_dir=r", "seeds=2", *_saboteur(place, "rm r/*.json"))
    return wrong(said, 1, "was removed from results_dir=r")


def full_output(place: Place) -> list[str]:
    """The output goes to a full disk: the run is stored, and the status tells."""
    found = wrong(place.clbench("results_dir=r", shell="% >/dev/full"), 1, "the output cannot be written: No space left")
    found += [f"{_trained(place.folder / 'r')} records"] * (_trained(place.folder / "r") != 1)
    found += wrong(place.clbench("results_dir=r", module="leaderboard", shell="% >/dev/full"), 1, "the output cannot be written")
    return found + wrong(place.clbench("results_dir=r", "seeds=2", shell="% 2>/dev/full"), 0, "1 trained")


def worker_log(place: Place, how: str) -> list[str]:
    """The log of a worker cannot be written, and the run prints much: the run ends well."""
    logs = place.folder / "r" / ".logs"
    logs.parent.mkdir()
    if how == "file":
        logs.touch()
    else:
        logs.mkdir()
        (logs / "worker-0.log").symlink_to("/dev/full")
    words = ("+logger.s._target_=tools.safety.saboteur.Saboteur", f"+logger.s.words={'x' * 5000}", "runner.workers=1")
    return wrong(place.clbench("results_dir=r", *words), 0, "1 trained")


def no_temporary_folder(place: Place) -> list[str]:
    """The folder for temporary files is full."""
    disk = place.disk()
    fill(disk)
    return wrong(place.clbench("results_dir=r", env={"TMPDIR": str(disk)}), 0, "1 trained")


def plot_and_models(place: Place) -> list[str]:
    """Pictures and saved models on a full disk."""
    disk = place.disk(size="150k")
    found = wrong(place.clbench(f"results_dir={disk}/r", "save_models=true"), 1, f"the disk {disk} is full")
    place.clbench("results_dir=r")
    fill(disk)
    return found + wrong(place.clbench("results_dir=r", f"out={disk}", module="plot"), 1, f"the disk {disk} is full", "out=")


def full_cache(place: Place) -> list[str]:
    """Computed arrays cannot be stored."""
    disk = place.disk()
    fill(disk)
    program = (
        "import numpy, pathlib; from clbench.data.array_cache import store_arrays; from clbench.errors import DataError\n"
        f"try:\n    store_arrays({{'x': numpy.zeros(9999)}}, pathlib.Path('{disk}/x.npz'))\nexcept DataError as e:\n    print(e)"
    )
    return wrong(place.clbench(module=program), 0, f"the disk {disk} is full", "data.root=")


def faults(place: Place) -> list[str]:
    """Errors of the system that no small disk has: a quota, a fault of the disk. They are raised when a file is flushed."""
    found = []
    for name, word in {
        "EDQUOT": "quota on the disk",
        "EIO": "has a fault",
        "ENOSPC": "is full",
        "EROFS": "can only be read",
    }.items():
        program = (
            "import errno, os, sys\nfrom clbench.cli.main import main\n"
            f"def fails(file):\n    raise OSError(errno.{name}, os.strerror(errno.{name}))\n"
            f"os.fsync = fails\nsys.argv = ['clbench', 'results_dir={name}', 'runner.workers=0', 'seeds=2', 'trainer.epochs=1', "
            "'logger=none']\nmain()"
        )
        found += wrong(place.clbench(module=program), 1, word, "not begun: 1 run")
    return found


def _link_to_the_folder(place: Place) -> list[str]:
    said: list[Said] = [place.clbench("results_dir=r")]
    os.symlink("r", place.folder / "link")
    return wrong(place.clbench("results_dir=link"), 0, "Nothing to train") + wrong(said[0], 0, "1 trained")


GONE = {
    "renamed": "mv r s",
    "removed": "rm -rf r",
    "replaced by a file": "mv r s; touch r",
    "replaced by an empty folder": "mv r s; mkdir r",
    "replaced by a dangling link": "mv r s; ln -s nowhere r",
}

CASES = (
    Case("full disk", "from the start", full_from_the_start, True, "mount", 2),
    Case("full disk", "on the way, worker", partial(full_on_the_way, workers=1, task=1), True, "mount"),
    Case("full disk", "on the way, no worker", partial(full_on_the_way, workers=0, task=3), False, "mount"),
    Case("full disk", "before the last checkpoint", partial(full_on_the_way, workers=1, task=4), False, "mount"),
    Case("full disk", "room for the record only", record_without_checkpoint, True, "mount"),
    Case("full disk", "no inode", no_inode, False, "mount"),
    Case("full disk", "temporary files", no_temporary_folder, False, "mount"),
    Case("full disk", "pictures and models", plot_and_models, False, "mount", 2),
    Case("full disk", "arrays", full_cache, False, "mount"),
    Case("full output", "/dev/full", full_output, False, "", 3),
    Case("full output", "log is a file", partial(worker_log, how="file"), False),
    Case("full output", "log on a full disk", partial(worker_log, how="full"), True),
    Case("other errors", "file too large", too_large, False),
    Case("other errors", "raised", faults, False, "", 4),
    Case("read-only disk", "records there", read_only, False, "mount", 7),
    *(
        Case("folder gone", f"{name}, worker", partial(gone, command=text, workers=1), name == "removed")
        for name, text in GONE.items()
    ),
    *(Case("folder gone", f"{name}, no worker", partial(gone, command=text, workers=0)) for name, text in GONE.items()),
    Case("folder gone", "unmounted", unmounted, False, "mount"),
    Case("folder gone", "checkpoints only", checkpoints_gone),
    Case("folder gone", "a record", record_gone),
    Case("links", "two names of a folder", _link_to_the_folder),
)
