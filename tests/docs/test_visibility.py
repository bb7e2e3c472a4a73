"""The page that compares what schedulers show says of loopcron what is so."""

from __future__ import annotations

import inspect
import json
import re
from datetime import timedelta
from typing import Any

import anyio
import pytest

import loopcron
from loopcron import Run, Scheduler, every
from loopcron.status import StatusRequest, StatusRoutes
from loopcron.testing import FakeClock, hang
from tests.blocks import ROOT

PAGE = (ROOT / "docs" / "visibility.md").read_text(encoding="utf-8")
COMPARED, _, OURS = PAGE.partition("## Where to find ours")
VERDICTS = re.compile(r"(?:[34]: )?(?:yes|no|partly|apart|as API|\u2013|\?)(?:[:;, ].*|)")


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables in *text*, without their heads."""
    lines = [line for line in text.splitlines() if re.match(r"\| (?!\||point)", line)]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def named(column: int) -> list[str]:
    """Return what a column of the last table names."""
    return sorted({name for row in rows(OURS) for name in re.findall(r"`([^`]+)`", row[column])})


def is_in(document: Any, path: list[str]) -> bool:
    """Return whether the document has this field; of lists the first element counts."""
    if not path:
        return True
    if isinstance(document, list):
        return bool(document) and is_in(document[0], path)
    return isinstance(document, dict) and path[0] in document and is_in(document[path[0]], path[1:])


async def status_document() -> Any:
    """Return the document of a scheduler with a run that has ended and one that has not."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)

    @scheduler.job(every(minutes=1), timeout=None)
    async def sync(run: Run) -> None:
        if run.reason == "schedule":
            await hang()

    async with scheduler:
        await scheduler.trigger("sync")
        await clock.advance(timedelta(minutes=1))
        answer = await StatusRoutes(scheduler, authorize=lambda _: True).answer(StatusRequest("GET", "/status.json"))
    return json.loads(answer.body)


def test_every_cell_has_a_verdict() -> None:
    """Each cell of the comparison begins with one of the words that the page explains, and each row has all cells."""
    compared = rows(COMPARED)
    assert compared
    assert [row for row in compared if len(row) not in (9, 10)] == []
    assert [(row[0], cell) for row in compared for cell in row[1:] if not VERDICTS.fullmatch(cell)] == []


def test_every_point_that_can_be_is_found() -> None:
    """Each point that the last table places stands in the comparison, and loopcron has it there."""
    ours = {row[0]: row[1] for row in rows(COMPARED)}
    assert [row[0] for row in rows(OURS) if not ours[row[0]].startswith(("yes", "partly"))] == []


@pytest.mark.parametrize("name", named(1))
def test_what_stands_for_a_point_is_public(name: str) -> None:
    """Each name of Python on the page is public: a class, what it has, or in brackets what it takes."""
    found = re.fullmatch(r"(\w+)(?:\.(\w+)|\((\w+)\))?", name)
    assert found is not None
    kind, member, parameter = found.groups()
    assert kind in loopcron.__all__
    assert member is None or hasattr(getattr(loopcron, kind), member)
    assert parameter is None or parameter in inspect.signature(getattr(loopcron, kind)).parameters


def test_what_stands_for_a_point_is_in_the_document() -> None:
    """Each field that the page names is in what the status page is made from."""
    document = anyio.run(status_document)
    assert [name for name in named(2) if not is_in(document, name.split("."))] == []
