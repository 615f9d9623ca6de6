"""Checkpoints: one after every task, written completely or not at all, verified when read.

A file holds the run and the task that it belongs to, and its sha256 covers both. The folder's name is the id of the run. So a
checkpoint that was copied from another run or renamed to another task is refused.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from clbench.errors import StoreError
from clbench.utils import atomic
from clbench.utils.regular_files import open_regular, read_bytes
from clbench.utils.safe_json import brief, escaped

FORMAT = 2
"""Version of a file's layout. Files of version 1 hold the tree alone, and their events say which task they belong to."""
HEAD = ("format", "run", "task", "tree")
"""Keys of a file."""
_NAME = re.compile(r"task-(\d{4,9})\.pt")
_DIGEST = 1000  # bytes of the file with the sha256, which has 65


def save(folder: Path, task: int, tree: dict[str, Any], alone: bool = True) -> None:
    """Store `tree` (tensors and plain values) as the state after `task`; with `alone` earlier checkpoints are removed.

    The digest is written first and the data is renamed last, so a file with its final name is complete.

    Raises:
        StoreError: the folder cannot be written; the previous checkpoint is still there.
    """
    path = folder / f"{_stem(task)}.pt"
    data = io.BytesIO()
    torch.save(dict(zip(HEAD, (FORMAT, folder.name, task, tree), strict=True)), data)
    remedy = "choose another results_dir; then start the same command again"
    digest = hashlib.sha256(data.getbuffer()).hexdigest()
    atomic.write(path.with_suffix(".sha256"), digest + "\n", name="the checkpoint", remedy=remedy, shared=False)
    atomic.write(path, data.getbuffer(), name="the checkpoint", remedy=remedy, shared=False)
    if alone:
        prune(folder, task)


def prune(folder: Path, task: int) -> None:
    """Remove all checkpoints except the one after `task`; none if that one is not stored."""
    if task not in stored(folder):
        return
    for old in folder.glob("task-*"):
        if old.stem != _stem(task):
            with suppress(OSError):  # a folder of such a name is none of ours
                old.unlink(missing_ok=True)


def stored(folder: Path) -> list[int]:
    """Return the tasks with a checkpoint after them, ascending. Files with other names are none."""
    if not folder.is_dir():
        return []
    found = [match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(int(match[1]) for match in found if match[0] == f"{_stem(int(match[1]))}.pt")


def load(folder: Path, device: torch.device, at: int | None = None) -> tuple[int, dict[str, Any]] | None:
    """Return (task, tree) of the checkpoint after task `at` (None: the newest); None without a checkpoint.

    Raises:
        StoreError: the file is damaged, or belongs to another run or task; it stays in place.
    """
    tasks = stored(folder)
    task = (tasks[-1] if tasks else None) if at is None else at
    if task not in tasks:
        return None
    path, remedy = folder / f"{_stem(task)}.pt", beginning(folder)
    name = escaped(path)
    try:
        declared = read_bytes(path.with_suffix(".sha256"), _DIGEST).decode("ascii", "replace").strip()
        with open_regular(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != declared:
                told = brief(declared, 12) or "none"
                raise StoreError(f"the checkpoint {name} is damaged: sha256 {found[:12]}, expected {told}", remedy)
            file.seek(0)
            body = torch.load(file, map_location=device, weights_only=True)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"the checkpoint {name} cannot be read: {_cause(error)}", remedy) from error
    if not isinstance(body, dict):
        raise StoreError(f"the checkpoint {name} holds a {type(body).__name__}, and no state of a run", remedy)
    if "format" not in body:  # of version 1; `learned_state.refuse_foreign` looks at its run and its events
        return task, body
    if body["format"] != FORMAT or set(body) != set(HEAD) or not isinstance(body["tree"], dict):
        told = f"format={brief(body['format'])}"
        raise StoreError(f"the checkpoint {name} has another layout ({told}, and this version reads {FORMAT})", remedy)
    if body["run"] != folder.name:
        raise StoreError(f"the checkpoint {name} belongs to another run ({brief(body['run'])}): it was copied", remedy)
    if body["task"] != task:
        raise StoreError(f"the checkpoint {name} was stored after task {brief(body['task'])}: it was renamed or copied", remedy)
    return task, body["tree"]


def beginning(folder: Path) -> str:
    """Return the remedy for a checkpoint that cannot be used."""
    return f"delete the folder {escaped(folder)} to train this run from its beginning"


def _stem(task: int) -> str:
    return f"task-{task:04d}"


def _cause(error: Exception) -> str:
    """Return why a file cannot be read, in one line. The advice of torch, to execute what the file holds, is left out."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values, or is cut short"
    if isinstance(error, OSError):
        named = f"{Path(str(error.filename)).name}: " if error.filename else ""
        return escaped(f"{named}{error.strerror or error}")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return brief(lines[0], 200)


def clear(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def write_model(path: Path, model: dict[str, Any]) -> None:
    """Store a model's state dict under `save_models`, atomically.

    Raises:
        StoreError: the folder cannot be written.
    """
    remedy = "run without save_models=true"
    atomic.write(path, lambda file: torch.save(model, file), name="the model", remedy=remedy, shared=False)
