"""Checkpoints: one after every task, written completely or not at all, verified when read."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import torch

from clbench.errors import StoreError
from clbench.utils import atomic


def save(folder: Path, task: int, tree: dict[str, Any], alone: bool = True) -> None:
    """Store `tree` (tensors and plain values) as the state after `task`; with `alone` earlier checkpoints are removed.

    The digest is written first and the data is renamed last, so a file with its final name is complete.

    Raises:
        StoreError: the folder cannot be written; the previous checkpoint is still there.
    """
    path = folder / f"task-{task:04d}.pt"
    data = io.BytesIO()
    torch.save(tree, data)
    remedy = "free space or choose another results_dir, then start the same command again"
    digest = hashlib.sha256(data.getbuffer()).hexdigest()
    atomic.write(path.with_suffix(".sha256"), digest + "\n", name="the checkpoint", remedy=remedy, shared=False)
    atomic.write(path, data.getbuffer(), name="the checkpoint", remedy=remedy, shared=False)
    if alone:
        prune(folder, task)


def prune(folder: Path, task: int) -> None:
    """Remove all checkpoints except the one after `task`."""
    for old in folder.glob("task-*"):
        if old.stem != f"task-{task:04d}":
            old.unlink(missing_ok=True)


def stored(folder: Path) -> list[int]:
    """Return the tasks with a checkpoint after them, ascending."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("task-*.pt")) if folder.is_dir() else []


def load(folder: Path, device: torch.device, at: int | None = None) -> tuple[int, dict[str, Any]] | None:
    """Return (task, tree) of the checkpoint after task `at` (None: the newest); None without a checkpoint.

    Raises:
        StoreError: the file is damaged; it stays in place.
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
    remedy = "free space, or run without save_models=true"
    atomic.write(path, lambda file: torch.save(model, file), name="the model", remedy=remedy, shared=False)
