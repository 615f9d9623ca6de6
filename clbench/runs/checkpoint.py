"""Checkpoints: one after every task, written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from clbench.errors import StoreError


def save(folder: Path, task: int, tree: dict[str, Any], alone: bool = True) -> None:
    """Store `tree` (tensors and plain values) as the state after `task`; earlier ones are then removed, if it is to be `alone`.

    The digest is written first and the data renamed into place last, so that a file under its final name is complete.

    Raises:
        StoreError: the folder cannot be written; the previous checkpoint is still there.
    """
    path = folder / f"task-{task:04d}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save(tree, file)
            file.flush()
            os.fsync(file.fileno())
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        with open(path.with_suffix(".sha256"), "w") as file:
            file.write(digest + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"the checkpoint {path} cannot be written: {error.strerror or error}",
            "free space or choose another results_dir, then start the same command again",
        ) from error
    if alone:
        prune(folder, task)


def prune(folder: Path, task: int) -> None:
    """Remove all checkpoints but the one after `task`."""
    for old in folder.glob("task-*"):
        if old.stem != f"task-{task:04d}":
            old.unlink(missing_ok=True)


def stored(folder: Path) -> list[int]:
    """Return the tasks after which there is a checkpoint, ascending."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("task-*.pt")) if folder.is_dir() else []


def load(folder: Path, device: torch.device, at: int | None = None) -> tuple[int, dict[str, Any]] | None:
    """Return (task, tree) of the checkpoint after task `at`, of the newest if `at` is None; None if there is none.

    Raises:
        StoreError: the file is damaged; it is left where it is.
    """
    tasks = stored(folder)
    task = (tasks[-1] if tasks else None) if at is None else at
    if task not in tasks:
        return None
    path = folder / f"task-{task:04d}.pt"
    remedy = f"delete the folder {folder} to train this run from its beginning"
    try:
        declared = path.with_suffix(".sha256").read_text().strip()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != declared:
            raise StoreError(f"the checkpoint {path} is damaged: sha256 {found[:12]}, expected {declared[:12]}", remedy)
        return task, torch.load(path, map_location=device, weights_only=True)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"the checkpoint {path} cannot be read: {error}", remedy) from error


def clear(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def write_model(path: Path, model: dict[str, Any]) -> None:
    """Store a model's state dict under `save_models`, atomically.

    Raises:
        StoreError: the folder cannot be written.
    """
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model, temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"the model {path} cannot be written: {error.strerror or error}", "free space, or run without save_models=true"
        ) from error
