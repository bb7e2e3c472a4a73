"""What is public: each public module names it in a sorted ``__all__``, provides all of it, and documents all of it."""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import loopcron
import loopcron.testing

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {"__main__"}


def public_modules() -> list[str]:
    """Return the dotted names of all modules that no underscore hides."""
    names = []
    for package in ("loopcron", "loopcron_starlette", "loopcron_aiohttp"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if not any(part.startswith("_") for part in parts):
                names.append(".".join(parts))
    return names


@cache
def tree(module: str) -> ast.Module:
    """Return the module's source, parsed."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def definition(module: str, name: str) -> tuple[ast.stmt | None, str | None]:
    """Return the statement that defines *name*, following imports within the project, and its docstring."""
    statements = list(tree(module).body)
    for statement in list(statements):
        if isinstance(statement, (ast.If, ast.Try)):
            statements += statement.body
    for number, statement in enumerate(statements):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == name:
            return statement, ast.get_docstring(statement)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("loopcron"):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return definition(statement.module or "", alias.name)
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            after = statements[number + 1 : number + 2]
            return statement, next((text(string) for string in after if text(string)), None)
    return None, None


def text(statement: ast.stmt) -> str | None:
    """Return the string that stands alone in a statement, such as the one that documents the name above it."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def type_checking_names() -> set[str]:
    """Return what ``loopcron`` shows to type checkers: the names in its ``if TYPE_CHECKING:`` block."""
    names = set()
    for statement in tree("loopcron").body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            for inner in statement.body:
                if isinstance(inner, ast.ImportFrom):
                    names |= {alias.asname or alias.name for alias in inner.names}
    return names


def exported(module: ModuleType) -> tuple[str, ...]:
    """Return the module's ``__all__``."""
    names: tuple[str, ...] = module.__all__
    return names


@pytest.mark.parametrize("name", public_modules())
def test_all_is_a_sorted_tuple(name: str) -> None:
    """The ``__all__`` of a public module is a tuple in code-point order, without repetition and private names."""
    names = exported(importlib.import_module(name))
    assert isinstance(names, tuple)
    assert names == tuple(sorted(set(names)))
    assert not [public for public in names if public.startswith("_")]


@pytest.mark.parametrize("name", public_modules())
def test_every_exported_name_exists(name: str) -> None:
    """A public module provides every name of its ``__all__``, and a star import brings exactly those."""
    module = importlib.import_module(name)
    namespace: dict[str, object] = {}
    exec(f"from {name} import *", namespace)
    assert sorted(set(namespace) - {"__builtins__"}) == list(exported(module))
    for public in exported(module):
        assert namespace[public] is getattr(module, public)


@pytest.mark.parametrize("name", public_modules())
def test_module_has_no_other_public_name(name: str) -> None:
    """What a public module defines itself is in its ``__all__``, or has an underscore."""
    defined = {
        statement.name
        for statement in tree(name).body
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    }
    hidden = {public for public in defined if not public.startswith("_")} - set(exported(importlib.import_module(name)))
    assert hidden == set()


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module in public_modules() for name in getattr(importlib.import_module(module), "__all__", ())],
)
def test_every_exported_name_is_documented(module: str, name: str) -> None:
    """Every public name has a docstring: of its class or function, or below the constant or alias."""
    statement, docstring = definition(module, name)
    if statement is None and isinstance(getattr(importlib.import_module(module), name), ModuleType):
        docstring = getattr(importlib.import_module(module), name).__doc__
    assert docstring, f"{module}.{name} has no docstring"


def methods() -> list[tuple[str, str, str]]:
    """Return (module, class, method) of every public method and property of every public class."""
    found = []
    for module in public_modules():
        for name in getattr(importlib.import_module(module), "__all__", ()):
            statement, _ = definition(module, name)
            if isinstance(statement, ast.ClassDef):
                found += [
                    (module, name, inner.name)
                    for inner in statement.body
                    if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inner.name.startswith("_")
                ]
    return sorted(set(found))


@pytest.mark.parametrize(("module", "cls", "method"), methods())
def test_every_public_method_is_documented(module: str, cls: str, method: str) -> None:
    """Every public method and property of a public class has a docstring of its own."""
    statement, _ = definition(module, cls)
    assert isinstance(statement, ast.ClassDef)
    inner = [node for node in statement.body if getattr(node, "name", None) == method]
    assert any(ast.get_docstring(node) for node in inner if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_type_checkers_see_the_same_names() -> None:
    """What ``loopcron`` re-exports lazily is just what its ``if TYPE_CHECKING:`` block shows to type checkers."""
    assert type_checking_names() == {name for name in loopcron.__all__ if not is_defined_here(name)}
    assert set(loopcron.__all__) <= set(dir(loopcron))


def is_defined_here(name: str) -> bool:
    """Say whether ``loopcron/__init__.py`` itself makes *name*, or it is a submodule."""
    statement, _ = definition("loopcron", name)
    if statement is None:
        return (ROOT / "loopcron" / name).is_dir() or (ROOT / "loopcron" / f"{name}.py").is_file()
    return statement in tree("loopcron").body


@pytest.mark.parametrize("module", [loopcron, loopcron.testing], ids=lambda module: module.__name__)
def test_unknown_name_is_an_attribute_error(module: ModuleType) -> None:
    """A name that a module with names on use does not have fails as on any module, with the name in the message."""
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"{module.__name__!r} has no attribute 'no_such_name'"):
        getattr(module, "no_such_name")  # noqa: B009 - as an attribute it would be a type checker's error


def test_nothing_public_is_missing() -> None:
    """Every error, every contract, and every member of the closed unions can be named by a user."""
    wanted = set()
    for module in ("_errors", "_protocols"):
        wanted |= {
            node.name
            for node in tree(f"loopcron.{module}").body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        }
    for union in ("Outcome", "Event"):
        wanted |= {union, *(member.__name__ for member in typing.get_args(getattr(loopcron, union)))}
    assert wanted <= set(loopcron.__all__)


def test_exported_classes_know_their_public_home() -> None:
    """Each exported class can be found under its own name in loopcron: no alias hides another class's name."""
    for name in loopcron.__all__:
        value = getattr(loopcron, name)
        if inspect.isclass(value):
            assert value.__name__ == name
