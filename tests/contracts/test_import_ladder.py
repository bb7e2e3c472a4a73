"""
The import ladder of docs/design.md, enforced: who may know whom, and who may know what time it is.

Every file is parsed, none is imported, so that a rung is judged by what stands in it. Imports that only a type
checker sees may point anywhere.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ("loopcron_starlette", "loopcron_aiohttp")

CLI = ("_cli", "_cli_ledger", "_cli_next", "_cli_parts", "_cli_simulate")
LADDER = (
    ("_errors", "_instants", "_lazy", "_tables", "_policies"),
    (
        *("_schedules", "_every", "_cron", "_calendar", "_zones", "_local", "_combined", "_describe", "_upcoming"),
        *("_outcomes", "_ledger", "_events", "_admission"),
    ),
    ("_agenda", "_attempts", "_claims", "_due", "_entries", "_live", "_places", "_timetable"),
    (
        *("_protocols", "_clock", "_http", "_loopback", "_sockets", "_address", "_listener", "_workers"),
        *("_jobs", "_log_fields", "_observe", "_history", "_health", "_pulse", "_status", "_spawn", "_threads"),
        *("_tracers", "_courier", "_watchdog"),
    ),
    ("ledgers",),
    ("_hands", "_runs", "_tasks"),
    ("_engine", "_view", "_scheduler", "_kept_lease", "_guard"),
    ("",),  # loopcron/__init__.py, which re-exports the rungs below it
    ("observers", "status", "testing", "dispatch", *CLI, "__main__"),
)
"""From the lowest rung to the highest; a file may import its own rung and those below."""

RUNG = {name: rung for rung, names in enumerate(LADDER) for name in names}
PURE = {name for rung in LADDER[:3] for name in rung}
"""The timetable with its parts, and all below it: no I/O, no now, no chance."""

IMPURE_MODULES = {"anyio", "asyncio", "logging", "random", "secrets", "threading", "time", "trio", "uvloop", "uuid"}

NOW = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.clock_gettime"),
    *("time.gmtime", "time.localtime", "time.ctime", "anyio.current_time", "trio.current_time"),
}
"""What tells an instant. ``time.perf_counter`` does not: it is a stopwatch, with which observers are timed."""

MODULE_LEVEL = {"anyio"}
"""What the core may import from outside the standard library where its modules begin."""

ON_USE = {
    "h11": ("_loopback",),
    "trio": ("_spawn", "_threads", "testing"),
    "asyncio": ("_spawn", "_threads", "testing"),
    "sqlite3": ("ledgers",),
    "psycopg": ("ledgers",),
    "redis": ("ledgers",),
    "hypothesis": ("testing",),
    "pytest": ("testing",),
}
"""Where in the core these may be imported at all; h11, drivers and frameworks inside a function only."""

FRAMEWORKS = {
    "loopcron_starlette": {"starlette", "anyio"},
    "loopcron_aiohttp": {"aiohttp", "anyio"},
}

STANDARD = sys.stdlib_module_names


@dataclass(frozen=True)
class Import:
    """One module or name that a file imports when it runs."""

    line: int
    module: str
    name: str | None
    at_top: bool
    guarded: bool

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def files(package: str) -> list[Path]:
    """Return the package's source files."""
    return sorted((ROOT / package).rglob("*.py"))


def shown(path: Path) -> str:
    """Return the file's path from the root of the project."""
    return path.relative_to(ROOT).as_posix()


def place(path: Path) -> str:
    """Return the file's part of the core, as the ladder names it: ``_http``, or ``ledgers`` for all in there."""
    first = path.relative_to(ROOT / "loopcron").parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """Return the file, parsed."""
    return ast.parse(path.read_text("utf-8"), str(path))


def is_type_checking(node: ast.AST) -> bool:
    """Say whether *node* is the test of an ``if TYPE_CHECKING:`` block."""
    return ast.unparse(node) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(path: Path) -> list[Import]:
    """Return what the file imports when it runs, its functions included."""
    return list(_imports(tree(path).body, at_top=True, guarded=False))


def _imports(body: list[ast.stmt], *, at_top: bool, guarded: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, None, at_top, guarded)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where it points"
            for alias in node.names:
                yield Import(node.lineno, node.module or "", alias.name, at_top, guarded)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            yield from _imports(node.orelse, at_top=at_top, guarded=guarded)
        else:
            inside = at_top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for field in ("body", "handlers", "orelse", "finalbody", "cases"):
                for child in getattr(node, field, []):
                    block = [child] if isinstance(child, ast.stmt) else child.body
                    yield from _imports(block, at_top=inside, guarded=guarded or isinstance(node, ast.Try))


def target(found: Import) -> str | None:
    """Return the part of the core that an import points at, or None if it points elsewhere."""
    if found.top != "loopcron":
        return None
    parts = found.module.split(".")[1:]
    if not parts and found.name is not None and (found.name in RUNG or (ROOT / "loopcron" / found.name).is_dir()):
        parts = [found.name]  # from loopcron import testing
    return parts[0] if parts else ""


def dotted(node: ast.expr) -> str | None:
    """Return ``a.b.c`` for such an expression, and None for any other one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return None if left is None else f"{left}.{node.attr}"
    return None


def uses_of_now(path: Path) -> list[str]:
    """Return where the file asks what time it is, whatever it calls the function."""
    renamed: dict[str, str] = {}
    for found in imports(path):
        if found.name is not None and f"{found.module}.{found.name}" in NOW:
            renamed[found.name] = f"{found.module}.{found.name}"
    uses = []
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.Attribute, ast.Name)):
            name = dotted(node)
            if name is not None and (name in NOW or name in renamed):
                uses.append(f"{shown(path)}:{node.lineno}: {renamed.get(name, name)}")
        if isinstance(node, ast.Call) and re.search(r"loop(\(\))?\.time$", ast.unparse(node.func)):
            uses.append(f"{shown(path)}:{node.lineno}: the event loop's time")
    return uses


def core_cases() -> list[Path]:
    """Return the files of the core package, subpackages included."""
    return files("loopcron")


@pytest.mark.parametrize("path", core_cases(), ids=shown)
def test_file_has_a_rung(path: Path) -> None:
    """Every file of the core stands on a rung of the ladder, so that a new one has to be given its place."""
    assert place(path) in RUNG, f"{shown(path)} has no rung; find its place in docs/design.md and in LADDER"


@pytest.mark.parametrize("path", core_cases(), ids=shown)
def test_core_imports_downwards(path: Path) -> None:
    """A file of the core imports its own rung and lower ones only, and never an adapter."""
    here = place(path)
    wrong = []
    for found in imports(path):
        there = target(found)
        if found.top in ADAPTERS:
            wrong.append(f"line {found.line}: the core knows no adapter")
        elif there is not None and RUNG.get(there, len(LADDER)) > RUNG.get(here, len(LADDER)):
            wrong.append(f"line {found.line}: {here or 'loopcron'} must not know {there or 'loopcron'}")
    assert not wrong


def test_core_has_no_import_cycle() -> None:
    """Within a rung imports go one way, so that any file can be read after those it imports."""
    graph: dict[str, set[str]] = {}
    for path in core_cases():
        known = {there for found in imports(path) if (there := target(found)) is not None}
        graph.setdefault(place(path), set()).update(known - {place(path)})
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", [path for path in core_cases() if place(path) in PURE], ids=shown)
def test_timetable_and_below_are_pure(path: Path) -> None:
    """The timetable and all below it import nothing that does I/O, knows now, or rolls dice."""
    assert [found for found in imports(path) if found.top in IMPURE_MODULES] == []


@pytest.mark.parametrize("path", [path for name in ("loopcron", *ADAPTERS) for path in files(name)], ids=shown)
def test_only_the_clock_knows_now(path: Path) -> None:
    """No file but the clock asks the system what time it is, not even the fake one's scheduler or an adapter."""
    if path.name == "_clock.py" and path.parent.name in {"loopcron", "testing"}:
        assert place(path) in {"_clock", "testing"}
    else:
        assert uses_of_now(path) == []


@pytest.mark.parametrize("path", core_cases(), ids=shown)
def test_core_is_light_at_module_level(path: Path) -> None:
    """Where a module of the core begins it imports the standard library and anyio; all else is imported on use."""
    here = place(path)
    wrong = []
    for found in imports(path):
        allowed = ON_USE.get(found.top)
        if found.top == "loopcron" or (found.top in STANDARD and allowed is None) or found.top in MODULE_LEVEL:
            continue
        if allowed is not None and here not in allowed and here not in {*CLI, "__main__"}:
            wrong.append(f"line {found.line}: {found.module} belongs into {' or '.join(allowed)}")
        if allowed is None and found.top not in STANDARD and here not in {"observers", *CLI, "__main__"}:
            wrong.append(f"line {found.line}: the core does not depend on {found.module}")
        # Optional parts may guard the import instead; hypothesis and pytest are what loopcron.testing is for.
        optional = here == "testing" or (here == "observers" and found.guarded)
        if found.at_top and not optional and found.top not in STANDARD:
            wrong.append(f"line {found.line}: {found.module} is to be imported on use")
    assert not wrong


@pytest.mark.parametrize("path", [path for name in ADAPTERS for path in files(name)], ids=shown)
def test_adapter_uses_public_names(path: Path) -> None:
    """An adapter imports public names of loopcron and one framework, and never another adapter."""
    package = path.relative_to(ROOT).parts[0]
    wrong = []
    for found in imports(path):
        parts = [*found.module.split("."), *([found.name] if found.name else [])]
        if found.top == "loopcron" and any(part.startswith("_") for part in parts):
            wrong.append(f"line {found.line}: {'.'.join(parts)} is private to loopcron")
        elif found.top not in {*STANDARD, "loopcron", package, *FRAMEWORKS[package]}:
            wrong.append(f"line {found.line}: {package} must not know {found.top}")
    wrong += [
        f"line {node.lineno}: {dotted(node)} is private to loopcron"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and re.match(r"loopcron\.(.*\.)?_", dotted(node) or "")
    ]
    assert not wrong
