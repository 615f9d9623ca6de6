"""Find old words of the vocabulary: modules, identifiers, docstrings, comments, messages and pages (docs/architecture.md).

    python tools/vocabulary.py    # prints `file:line: old -> new (what was found)`; exit status 1 if there is one

One thing has one word. `WORDS` holds each old word, its new word and the places in which the old word names the old thing.
`MODULES` holds the modules that moved. Ordinary English stays allowed: a table has cells, a sentence may say `kept`. Old names
that still work on purpose stand in `ALLOWED`, each with its reason.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.vocabulary_table import ALLOWED, MODULES, SKIPPED, WORDS, Word

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, order=True)
class Finding:
    """One old word.

    Args:
        file: path below the root.
        line: counted from 1; 0 for the file's own name.
        old: the old word.
        new: the word to use.
        found: the identifier or the text in which it stands.
    """

    file: str
    line: int
    old: str
    new: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old} -> {self.new} ({self.found})"


@dataclass(frozen=True)
class Name:
    """One identifier of a file: defined, assigned or read as an attribute; `local` for a plain variable."""

    text: str
    line: int
    local: bool


def findings(root: Path, files: Iterable[str]) -> list[Finding]:
    """Return the old words in `files`, which are paths below `root`, in order of file and line."""
    found: set[Finding] = set()
    for file in files:
        if not SKIPPED.search(file):
            found.update(in_file(file, (root / file).read_text(encoding="utf-8"), root))
    return sorted(finding for finding in found if not allowed(finding))


def in_file(file: str, text: str, root: Path = ROOT) -> Iterator[Finding]:
    """Yield the old words of one file, including those that are allowed.

    Args:
        file: path below the root, by which a word applies or not.
        text: the file's content.
        root: in which a module that moved counts as old unless a package has its name now.
    """
    letters = (file + text).replace("_", "").lower()
    words = [word for word in WORDS if applies(word, file) and (word.text or word.old.replace("_", "").lower() in letters)]
    old_modules = {old: new for old, new in MODULES.items() if not (root / Path(*old.split("."))).is_dir()}
    if file.endswith(".py"):
        if (module := ".".join(Path(file).with_suffix("").parts)) in old_modules:
            yield Finding(file, 0, module, old_modules[module], "a module's name")
        yield from in_names(file, [*names(text), Name(Path(file).stem.removeprefix("test_"), 0, local=False)], words)
        yield from in_imports(file, text, old_modules)
        lines = list(prose(text))
    else:
        lines = list(enumerate(text.splitlines(), 1))
    for number, line in lines:
        for word in words:
            if word.kind == "word" or word.text:
                for match in spelled(word).finditer(line):
                    yield Finding(file, number, word.old, word.new, match.group())
            if word.kind != "word":
                for match in quoted(word.old).finditer(line):
                    yield Finding(file, number, word.old, word.new, match.group())
        for match in _PATH.finditer(line):
            path, inside = match.group(), match.group().startswith("clbench")
            dotted = "clbench." + path.removeprefix("clbench").lstrip("./").removesuffix(".py").replace("/", ".")
            if inside or ("/" in path and path.endswith(".py")):
                for module in (dotted, dotted.rpartition(".")[0]):  # a module, or a name in one
                    if module in old_modules:
                        yield Finding(file, number, module, old_modules[module], path)


def applies(word: Word, file: str) -> bool:
    """Return whether the old word names the old thing in this file."""
    return bool(re.search(word.where, file)) and not (word.but and re.search(word.but, file))


_PATH = re.compile(r"(?<![\w./-])(?:clbench[./])?[a-z_]+(?:[./][a-z_]+)*(?:\.py)?(?![\w/-])")
"""A dotted module or a path, in text."""


def in_names(file: str, found: Iterable[Name], words: Iterable[Word]) -> Iterator[Finding]:
    """Yield the identifiers that are an old name, or hold one if the word is unmistakable."""
    for name in found:
        for word in words:
            if word.kind == "member" and name.local:
                continue
            if word.kind != "word":
                hit = name.text.strip("_") == word.old
            else:
                old = pieces(word.old)
                parts = [part.removesuffix("s") if part not in old else part for part in pieces(name.text)]
                hit = any(parts[i : i + len(old)] == old for i in range(len(parts) - len(old) + 1))
            if hit:
                yield Finding(file, name.line, word.old, word.new, name.text)


def in_imports(file: str, text: str, old_modules: dict[str, str]) -> Iterator[Finding]:
    """Yield the imports of modules that moved."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            asked = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        else:
            continue
        for module in asked:
            if module in old_modules:
                yield Finding(file, node.lineno, module, old_modules[module], "an import")


def names(text: str) -> Iterator[Name]:
    """Yield the identifiers that a source file defines, assigns or reads as attributes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Name(node.name, node.lineno, local=False)
            for statement in node.body if isinstance(node, ast.ClassDef) else ():
                targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                yield from (Name(each.id, each.lineno, local=False) for each in targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.arg):
            yield Name(node.arg, node.lineno, local=False)
        elif isinstance(node, ast.keyword) and node.arg:
            yield Name(node.arg, node.value.lineno, local=False)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Name(node.id, node.lineno, local=True)
        elif isinstance(node, ast.Attribute):
            yield Name(node.attr, node.end_lineno or node.lineno, local=False)
        elif isinstance(node, ast.alias) and node.asname:
            yield Name(node.asname, node.lineno, local=True)


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of every docstring, message and comment of a source file."""
    middle = getattr(tokenize, "FSTRING_MIDDLE", None)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, middle):
            yield from enumerate(token.string.splitlines(), token.start[0])


@cache
def pieces(name: str) -> list[str]:
    """Return an identifier's words in lower case.

    >>> pieces("_side_by_side"), pieces("StackHindrance")
    (['side', 'by', 'side'], ['stack', 'hindrance'])
    """
    return [piece.lower() for piece in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


@cache
def spelled(word: Word) -> re.Pattern[str]:
    """Return what finds any mention of a word in text: its own pattern, or the word with or without a plural's s."""
    return re.compile(word.text or rf"\b_*{word.old}s?(?![a-zA-Z])", re.IGNORECASE)


@cache
def quoted(old: str) -> re.Pattern[str]:
    """Return what finds an old name between backticks, alone, with an owner before it or a call behind it."""
    return re.compile(rf"`(?:[\w.]*\.)?_*{old}(?:\([^`]*\))?`")


def allowed(finding: Finding) -> bool:
    """Return whether an old name stands there on purpose."""
    return any(re.search(file, finding.file) and re.fullmatch(old, finding.old) for file, old, _ in ALLOWED)


def searched(root: Path) -> list[str]:
    """Return the files of a git work tree in which the vocabulary holds."""
    command = [
        "git",
        "-C",
        str(root),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.py",
        "*.md",
        "*.yaml",
        "*.toml",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in dict.fromkeys(listed) if (root / name).is_file()]


def main() -> None:
    """Print every old word of the tree."""
    found = findings(ROOT, searched(ROOT))
    print("\n".join([*map(str, found), f"{len(found)} old words"]))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
