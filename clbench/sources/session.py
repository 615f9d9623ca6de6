"""The source of a class of a notebook, a script or a prompt: its own text, and all that it reaches there by name.

A whole notebook would be too much: a cell that draws a plot changes no result. Other modules count wholly.
"""

from __future__ import annotations

import ast
import dis
import inspect
import platform
import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

from clbench.errors import ConfigError
from clbench.sources import definition
from clbench.sources.content import content
from clbench.sources.text import Import, digest, imports


class Follows(Protocol):
    """Follows modules of files."""

    def follow(self, name: str) -> bool:
        """Follow a module, and return whether it counts."""

    def follow_import(self, statement: Import, module: str, is_package: bool) -> None:
        """Follow an import statement of a module."""


def describe(name: str, files: Follows) -> str:
    """Return the digest of a class or function without a file, and follow the modules that it uses.

    Its bases count, and the functions, classes and values that its text names, and so on from there. A text that does not
    belong to the loaded code (a script that was edited after its start), or none at all (`exec`), is replaced by the compiled
    code and the version of Python.

    Args:
        name: dotted name; its module is loaded.
        files: follows the modules of files.

    Raises:
        ConfigError: a name stands for an outdated part of a module that was loaded again.
    """
    module, _, member = name.rpartition(".")
    session = _Session(sys.modules[module], files)
    session.add(member, vars(sys.modules[module]).get(member))
    return digest("\n".join(f"{key}: {session.pieces[key]}" for key in sorted(session.pieces)))


class _Session:
    """Collects what a class of one module reaches there by name."""

    def __init__(self, module: ModuleType, files: Follows) -> None:
        self.name, self.values, self.files = module.__name__, vars(module), files
        self.pieces: dict[str, str] = {}

    def add(self, name: str, value: Any, changed: bool = False) -> None:
        """Add what `name` stands for; `changed`: the code itself changes the value, which then does not count."""
        if name in self.pieces:
            return
        self.pieces[name] = ""
        if isinstance(value, ModuleType):
            self.files.follow(value.__name__)
            self.pieces[name] = value.__name__
            return
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, (type, FunctionType)) or inspect.isbuiltin(value):
            self.pieces[name] = self._code(value) if value.__module__ == self.name else self._of_module(name, value)
        else:
            reached: list[Any] = []
            self.pieces[name] = type(value).__qualname__ if changed else content(value, reached)
            for each in [type(value), *reached]:
                self._reach(each)

    def _reach(self, value: Any) -> None:
        """Add a class or function that no name of the text stands for."""
        if value.__module__ == self.name:
            self.add(value.__qualname__, value)
        else:
            self.files.follow(str(value.__module__))

    def _of_module(self, name: str, value: Any) -> str:
        """Return the name of a class or function of another module, and follow that module."""
        module = str(value.__module__)
        if not self.files.follow(module):
            return f"{module.split('.')[0]} {value.__qualname__}"
        loaded = sys.modules.get(module)
        today: Any = loaded
        for part in value.__qualname__.split("."):
            today = getattr(today, part, None)
        if today is not None and inspect.unwrap(today) is not value:
            raise ConfigError(
                f"{name} in {self.name} is not the {value.__qualname__} of the module {module}, which was loaded again",
                f"run the import again: from {module} import {value.__qualname__.split('.')[0]}, then what is made of it",
            )
        return f"{module} {value.__qualname__}"

    def _code(self, value: Any) -> str:
        """Return the text of a class or function of this module, or its compiled code, and add what it names."""
        functions = list(definition.functions(value))
        tree, text = definition.text(value, functions, self.values)
        parts = [text]
        if tree is None:
            parts = [platform.python_version(), *(definition.spelled(function.__code__) for function in functions)]
            for function in functions:
                given = (function.__defaults__, function.__kwdefaults__)
                cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
                parts.append(content([given, [cell for cell in cells if cell is not value]], []))
        if isinstance(value, type):
            parts += [f"{key}={content(each, [])}" for key, each in sorted(vars(value).items()) if _is_plain(key, each)]
            for base in value.__mro__[1:]:
                self._reach(base)
        if tree is not None:
            self._names_of_tree(tree)
        else:
            parts += [str(part) for part in getattr(value, "__dataclass_fields__", {}).values()] if not functions else []
            for function in functions:
                self._names_of_code(function.__code__)
        return "\n".join(parts)

    def _names_of_tree(self, tree: ast.AST) -> None:
        for statement in imports(tree):
            self.files.follow_import(statement, self.name, False)
        changed = definition.changed_names(tree)
        for name in definition.global_names(tree):
            if name in self.values:
                self.add(name, self.values[name], name in changed)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                self._submodule(node)

    def _submodule(self, node: ast.Attribute) -> None:
        """Follow `package.part`, where an import of the session has loaded the part."""
        names = ast.unparse(node).split(".")
        package = self.values.get(names[0])
        if isinstance(package, ModuleType) and all(name.isidentifier() for name in names):
            inner = ".".join([package.__name__, *names[1:]])
            if inner in sys.modules:
                self.files.follow(inner)

    def _names_of_code(self, code: CodeType) -> None:
        for each in definition.nested(code):
            for instruction in dis.get_instructions(each):
                name = instruction.argval
                if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in self.values:
                    self.add(name, self.values[name])
                elif instruction.opname == "IMPORT_NAME":
                    self.files.follow_import(Import(str(instruction.argval)), self.name, False)


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:
        return True


def _is_plain(key: str, value: Any) -> bool:
    """Return whether an attribute of a class is a value, not code."""
    return not key.startswith("__") and not callable(value) and not hasattr(value, "__get__") and not key.startswith("_abc_")
