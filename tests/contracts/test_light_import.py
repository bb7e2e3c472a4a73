"""Importing loopcron costs next to nothing: no event loop, no framework, no driver until somebody uses one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

HEAVY = {
    *("aiohttp", "fastapi", "starlette", "uvicorn", "gunicorn", "hypercorn"),
    *("h11", "hypothesis", "pytest", "trio", "uvloop"),
    *("prometheus_client", "opentelemetry", "psycopg", "redis", "sqlite3"),
}
"""What only its own user may load."""

MACHINERY = {"anyio", "asyncio", "concurrent", "ssl"}
"""What a scheduler needs and a mere import does not."""


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that *code* loads in a fresh interpreter."""
    last = "print(json.dumps(sorted(set(sys.modules) - before)))"
    script = f"import json, sys\nbefore = set(sys.modules)\n{code}\n{last}"
    # Without coverage's hook: what it loads would hide what we do.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment, timeout=60
    )
    return {module.partition(".")[0] for module in json.loads(done.stdout)}


def test_import_loads_nothing_heavy() -> None:
    """``import loopcron`` loads neither a framework, a driver nor a test library, nor even anyio and asyncio."""
    assert loaded_by("import loopcron") & (HEAVY | MACHINERY) == set()


def test_every_public_name_is_light() -> None:
    """Even touching every public name of loopcron loads no framework, driver or test library."""
    touched = loaded_by("import loopcron\nassert [getattr(loopcron, name) for name in loopcron.__all__]")
    assert touched & HEAVY == set()


def test_schedules_need_no_event_loop() -> None:
    """Schedules and jobs can be declared, as in a settings module, without loading anyio."""
    code = "from loopcron import every, HttpJob\nHttpJob('sync', every(minutes=15), '/api/sync')"
    assert loaded_by(code) & (HEAVY | {"anyio", "asyncio"}) == set()


def test_status_page_is_loaded_by_who_mounts_it() -> None:
    """Neither loopcron nor any public name of it loads the status page."""
    touch = "import loopcron\n[getattr(loopcron, name) for name in loopcron.__all__]"
    loaded_by(f"{touch}\nassert not [name for name in sys.modules if name.startswith('loopcron.status')]")
