"""The text of the migrator's own functions, with all that they need, for a file that stands alone."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType

OURS = __name__.partition(".")[0]


@dataclass
class Library:
    """Functions to be written into a file, each after those that it calls, and the imports of all.

    Args:
        imports: imported name -> the line that imports it.
        definitions: defined name -> its text, in the order of the file.

    """

    imports: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)

    def add(self, module: str, name: str) -> None:
        """Take in a top-level name of one of our modules, and everything that it uses.

        Args:
            module: qualified name of the module.
            name: of a function, class or constant that it defines.

        Raises:
            ValueError: another module's different definition has the same name already.

        """
        text, uses = _definition(module, name)
        if name in self.definitions:
            if self.definitions[name] != text:
                raise ValueError(f"two definitions of {name!r}: in {module} and in another module")
            return
        self.definitions[name] = ""  # a function may call itself
        for used in uses:
            self.use(module, used)
        del self.definitions[name]
        self.definitions[name] = text

    def use(self, module: str, name: str) -> None:
        """Take in a name as a module knows it: one of its own, or one that it imports.

        Args:
            module: qualified name of the module.
            name: anything that it reads; names of neither kind are left out.

        """
        home, line = _imports(module).get(name, ("", ""))
        if home.partition(".")[0] == OURS:
            self.add(home, name)
        elif line:
            self.imports[name] = line
        elif name in _definitions(module):
            self.add(module, name)


def top_level_names(module: str) -> set[str]:
    """Return every name that a module defines or imports at its top level."""
    return set(_definitions(module)) | set(_imports(module))


@cache
def _tree(module: str) -> ast.Module:
    loaded: ModuleType = import_module(module)
    return ast.parse(inspect.getsource(loaded))


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Imported name -> the module it is from, and the line that imports it."""
    found: dict[str, tuple[str, str]] = {}
    for statement in _tree(module).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                home = statement.module or "" if isinstance(statement, ast.ImportFrom) else alias.name
                alone = ast.copy_location(type(statement)(**{**vars(statement), "names": [alias]}), statement)
                found[alias.asname or alias.name] = (home, ast.unparse(alone))
    return found


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Top-level name -> the statements that define it, such as a function and its own derivative."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in _tree(module).body:
        for name in _defined(statement):
            found.setdefault(name, []).append(statement)
    return found


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef):
        derivative = [
            decorator.value.id
            for decorator in statement.decorator_list
            if isinstance(decorator, ast.Attribute) and isinstance(decorator.value, ast.Name)
        ]
        return [name for name in derivative if name != "jax"] or [statement.name]
    if isinstance(statement, ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def _definition(module: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The text that defines a name, without our registration, and the names that it reads."""
    texts, uses = [], dict[str, None]()
    for statement in _definitions(module)[name]:
        kept = statement
        if isinstance(statement, ast.FunctionDef):
            decorators = [d for d in statement.decorator_list if not _registers(d)]
            kept = ast.FunctionDef(**{**vars(statement), "decorator_list": decorators})
        lines = _source_lines(module, statement, kept)
        texts.append(lines)
        for node in ast.walk(kept):
            if isinstance(node, ast.Name) and node.id != name:
                uses[node.id] = None
    return "\n\n\n".join(texts), tuple(uses)


def _registers(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "rule"


def _source_lines(module: str, statement: ast.stmt, kept: ast.stmt) -> str:
    """The statement as it is written, comments included, after the decorators that stay."""
    lines = inspect.getsource(import_module(module)).splitlines()
    body = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
    decorators = [f"@{ast.unparse(decorator)}" for decorator in getattr(kept, "decorator_list", ())]
    return "\n".join([*decorators, body])
