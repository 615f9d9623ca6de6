"""The text of a source file as it counts: without comments and blank lines, the same under every version of Python."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
from dataclasses import dataclass
from functools import lru_cache

from clbench.errors import ConfigError

DIGITS = 16
"""Hexadecimal digits of a digest."""


@dataclass(frozen=True)
class Import:
    """One import statement.

    Args:
        module: as written.
        names: taken from the module; `*` for all.
        level: dots before the module.
        bound: the name that each of `names` gets; without `names`, the name that the module gets.
    """

    module: str
    names: tuple[str, ...] = ()
    level: int = 0
    bound: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """A source text: its digest, its imports, and the names in `__all__`."""

    digest: str
    imports: tuple[Import, ...]
    public: tuple[str, ...]


def digest(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def bytes_digest(content: bytes) -> str:
    """Return the digest of a compiled module."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def normalised(text: str) -> str:
    """Return a source text without comments, blank lines and spaces at the ends of lines. The texts in quotes stay as they are.

    Python's grammar decides what a comment is; no version of its compiler plays a part.

    Args:
        text: a complete source text that can be parsed.
    """
    cuts: dict[int, int] = {}
    quoted: set[int] = set()  # lines that end within quotes
    starts: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            cuts[token.start[0]] = token.start[1]
        elif kind.endswith("STRING_START"):  # of an f-string, from Python 3.12 on
            starts.append(token.start[0])
        elif kind.endswith("STRING_END"):
            quoted.update(range(starts.pop(), token.end[0]))
        elif kind == "STRING":
            quoted.update(range(token.start[0], token.end[0]))
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        kept = line[: cuts[number]] if number in cuts else line
        if number in quoted:
            lines.append(kept)
        elif kept.strip():
            lines.append(kept.rstrip())
    return "\n".join(lines)


def parsed(content: bytes, place: str) -> Parsed:
    """Return what a source file says.

    Args:
        content: of the file.
        place: of the file, for messages.

    Raises:
        ConfigError: the file is not Python.
    """
    try:
        return _parsed(content)
    except (SyntaxError, UnicodeDecodeError, ValueError, tokenize.TokenError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigError(
            f"{place}{line} cannot be read as Python: {error.args[0] if error.args else error}",
            "mend the file: its text is part of what names a run",
        ) from error


@lru_cache(maxsize=1024)
def _parsed(content: bytes) -> Parsed:
    text = importlib.util.decode_source(content)
    tree = ast.parse(text)
    return Parsed(digest(normalised(text)), tuple(imports(tree)), tuple(_public(tree)))


def imports(tree: ast.AST) -> list[Import]:
    """Return all imports of a tree, those inside functions too, and `import_module` of a name in quotes."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, bound=(alias.asname or alias.name,)) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            bound = tuple(alias.asname or alias.name for alias in node.names)
            found.append(Import(node.module or "", tuple(alias.name for alias in node.names), node.level, bound))
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.append(Import(name.value.lstrip("."), level=len(name.value) - len(name.value.lstrip("."))))
    return found


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def _public(tree: ast.Module) -> list[str]:
    """Return the names in quotes of the assignments to `__all__`."""
    found = []
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            found += [text for text in texts if isinstance(text, str)]
    return found
