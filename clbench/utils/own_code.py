"""The state of the package's own code: version, commit, and a digest of the source."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def version(package: str = "clbench") -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return None


@cache
def git_commit() -> str | None:
    """Return the commit of clbench's own checkout, with `+` if it has uncommitted changes; None outside a checkout."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


@cache
def source_sha256(folder: Path = PACKAGE) -> str:
    """Return the sha256 over names and contents of all Python files below `folder`; by default those of the package."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
