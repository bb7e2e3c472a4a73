"""Rounds: every contender once, each in a fresh process, in the opposite order every second time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.benchmarks.cases import ROOT, Case
from tests.benchmarks.gauges import is_quiet
from tests.benchmarks.stores import KINDS

Measured = list[dict[str, dict[str, float]]]
"""Of each round the figures of each contender."""
Write = Callable[[dict[str, Any]], None]
LIMIT = 400
"""How long one measurement may take, in seconds."""
TRIES = 5


class Asked(NamedTuple):
    """Who is asked, by which interpreter, and with what."""

    contender: str
    python: str
    options: dict[str, Any]


class BrokenError(Exception):
    """A benchmark that could not be measured: what is wrong is in its message."""


def spawn(case: Case, asked: Asked) -> dict[str, float]:
    """Measure in a process of its own; with a longer lead, from then on, if it turns out to need one."""
    who = f"{case.name}, {asked.contender}"
    for _ in range(TRIES):
        task = json.dumps({"measure": case.measure, "contender": asked.contender, "options": asked.options})
        command = [asked.python, "-m", "tests.benchmarks.worker", task]
        try:
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            raise BrokenError(f"{who}: took more than {LIMIT} s") from None
        except FileNotFoundError:
            raise BrokenError(f"{who}: there is no {asked.python}") from None
        if ended.returncode:
            raise BrokenError(f"{who}: exit {ended.returncode}\n{ended.stderr.strip()[-3000:]}")
        answer = json.loads(ended.stdout.splitlines()[-1])
        if "lead" not in answer:
            return answer["figures"]  # type: ignore[no-any-return]
        asked.options["lead"] = max(answer["lead"], asked.options["lead"] * 1.3)
    raise BrokenError(f"{who}: its jobs were due before all had been added, in {TRIES} tries")


def one_round(case: Case, order: Sequence[Asked]) -> Iterator[tuple[Asked, dict[str, float] | BrokenError]]:
    """Give for each contender, in this order, its figures or why there are none."""

    def measured(asked: Asked) -> dict[str, float] | BrokenError:
        try:
            return spawn(case, asked)
        except BrokenError as error:
            return error

    with ThreadPoolExecutor(min(case.side_by_side, len(order)) or 1) as threads:
        yield from zip(order, threads.map(measured, order), strict=True)


def measure(case: Case, rounds: int, write: Write, *, full: bool, brief: bool) -> tuple[Measured, list[str]]:
    """
    Return the figures of all rounds, and what is broken; *write* is told of each.

    Peers are asked in the first rounds only. Who is broken is not asked again. A store that cannot be had breaks a
    benchmark only where all must run.
    """
    options = dict(case.brief or case.options if brief else case.options)
    measured: Measured = []
    broken: list[str] = []
    try:
        with placed(case) as place:
            everyone = [Asked(*each, {**options, **place}) for each in case.asked(full=full).items()]
            while wants_more(measured, rounds, 0 if brief else case.extra):
                number = len(measured)
                measured.append({})
                now = [each for each in everyone if each.contender in case.contenders or number < case.peer_rounds]
                for asked, found in one_round(case, now[:: -1 if number % 2 else 1]):
                    if isinstance(found, BrokenError):
                        broken.append(str(found))
                        everyone.remove(asked)
                        continue
                    measured[-1][asked.contender] = found
                    write({"kind": "run", "case": case.name, "round": number, "contender": asked.contender, **found})
    except pytest.skip.Exception as why:
        print(f"{case.name} is not measured: {why}", file=sys.stderr)
    except (BrokenError, pytest.fail.Exception) as why:
        broken.append(f"{case.name}: {why}")
    return measured, broken


def wants_more(measured: Measured, rounds: int, extra: int) -> bool:
    """Whether there is to be one more round: there are too few, or too few were quiet and *extra* more are allowed."""
    quiet = sum(is_quiet(*each.values()) for each in measured)
    return len(measured) < rounds or (quiet < rounds and len(measured) < rounds + extra)


@contextlib.contextmanager
def placed(case: Case) -> Iterator[dict[str, Any]]:
    """Give the options that come from what the case needs beside itself."""
    if case.place == "server":
        with http_server() as port:
            yield {"port": port}
    elif case.place:
        with KINDS[case.place]() as store:
            yield {"url": store.url}
    else:
        yield {}


@contextlib.contextmanager
def http_server() -> Iterator[int]:
    """Give the port of an app on a server in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.served"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise BrokenError("the server of the app did not start")
            yield int(line)
        finally:
            process.stdin.close()
