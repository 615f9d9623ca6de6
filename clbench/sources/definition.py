"""The text of a loaded class or function, if there is one that surely belongs to it."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import symtable
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from clbench.sources.text import normalised

FLAGS = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
"""Bits of a code object that `from __future__ import` sets."""
CHANGES = ("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard", "clear", "write")
"""Methods that change a list, a dictionary, a set or a file."""


def functions(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that a class or function is written with; those that `dataclass` makes follow from its fields."""
    if not isinstance(value, type):
        value = inspect.unwrap(value)
        if isinstance(value, FunctionType):
            yield value
        return
    for each in vars(value).values():
        parts = [each.fget, each.fset, each.fdel] if isinstance(each, property) else [each]
        for part in parts:
            part = getattr(part, "__func__", None) or getattr(part, "func", None) or part
            part = inspect.unwrap(part) if callable(part) else part
            if isinstance(part, type) and part.__qualname__.startswith(f"{value.__qualname__}."):
                yield from functions(part)
            elif isinstance(part, FunctionType) and not _is_generated(part.__code__):
                yield part


def _is_generated(code: CodeType) -> bool:
    return code.co_filename == "<string>" and "__create_fn__" in code.co_qualname


def text(value: Any, made_of: Sequence[FunctionType], values: Mapping[str, Any]) -> tuple[ast.AST | None, str]:
    """Return the syntax tree and the text of a loaded class or function; (None, "") if no text surely belongs to it.

    A text belongs to it if it compiles to the loaded code.

    Args:
        value: the class or function.
        made_of: its functions.
        values: of its module.
    """
    places = {function.__code__.co_filename for function in made_of if function.__module__ == value.__module__}
    script = values.get("__file__")
    for place in sorted(places) or ([str(script)] if script else []):
        linecache.checkcache(place)
        lines = linecache.getlines(place)
        try:
            tree = ast.parse("".join(lines))
        except (SyntaxError, ValueError):
            continue
        first = min((f.__code__.co_firstlineno for f in made_of if f.__code__.co_filename == place), default=None)
        found = _definition(tree, value.__qualname__, first)
        if found is not None and _belongs(tree, place, made_of):
            start = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
            return found, normalised_part(lines[start - 1 : found.end_lineno])
    return None, ""


def normalised_part(lines: Sequence[str]) -> str:
    """Return the normalised text of a statement, which may stand within a block."""
    depth = len(lines[0]) - len(lines[0].lstrip())
    head = "if True:\n" if depth else ""
    body = normalised(head + "".join(lines))
    return body.removeprefix(head)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definition(tree: ast.Module, name: str, line: int | None) -> Definition | None:
    """Return the definition of a name outside functions: the one that holds a line, else the last one."""
    found = None
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Definition):
            if node.name == name and (line is None or node.lineno <= line <= (node.end_lineno or line) or _decorated(node, line)):
                found = node
        else:
            waiting += reversed(list(ast.iter_child_nodes(node)))
    return found


def _decorated(node: Definition, line: int) -> bool:
    return any(decorator.lineno <= line <= node.lineno for decorator in node.decorator_list)


def _belongs(tree: ast.Module, place: str, made_of: Sequence[FunctionType]) -> bool:
    """Return whether a text compiles to the code of all functions."""
    flags = made_of[0].__code__.co_flags & FLAGS if made_of else 0
    try:
        whole = compile(tree, place, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    known: dict[str, list[str]] = {}
    for code in nested(whole):
        known.setdefault(code.co_qualname, []).append(spelled(code))
    return all(spelled(function.__code__) in known.get(function.__code__.co_qualname, ()) for function in made_of)


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def spelled(code: CodeType) -> str:
    """Return what a code object does, as text: neither lines nor file."""
    constants = [spelled(each) if isinstance(each, CodeType) else _constant(each) for each in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_kwonlyargcount)
    return f"{code.co_code.hex()} {names} {constants} {code.co_exceptiontable.hex()}"


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset({sorted(_constant(each) for each in value)})"
    if isinstance(value, tuple):
        return f"({', '.join(_constant(each) for each in value)})"
    return repr(value)


def global_names(tree: ast.AST) -> list[str]:
    """Return the names that a definition uses and does not define itself."""
    waiting = [symtable.symtable(ast.unparse(tree), "definition", "exec")]
    found: set[str] = set()
    while waiting:
        table = waiting.pop()
        found |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and symbol.is_global()}
        waiting += table.get_children()
    return sorted(found)


def changed_names(tree: ast.AST) -> set[str]:
    """Return the names whose values a text changes itself: a counter, a list of results."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found |= set(node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            found |= _root_name(node.func.value)
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found |= _root_name(node.value)
    return found


def _root_name(node: ast.expr) -> set[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()
