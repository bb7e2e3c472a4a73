"""The ledger contract convicts each of many wrong ledgers, and no honest one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import anyio
import pytest

from loopcron import MemoryLedger
from loopcron.testing import FakeClock, LedgerContract
from tests.ledgers import wrong_batches, wrong_claims, wrong_rows, wrong_runs
from tests.ledgers.planted import Forgetful, Honest, Store, Suite

WRONG: Final[list[type[Honest]]] = [
    wrong
    for module in (wrong_batches, wrong_claims, wrong_rows, wrong_runs)
    for wrong in vars(module).values()
    if isinstance(wrong, type) and "case" in vars(wrong)
]


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the parameters of each case, as pytest would call it."""
    for name, case in inspect.getmembers(LedgerContract, inspect.iscoroutinefunction):
        marks = [mark for mark in getattr(case, "pytestmark", []) if mark.name == "parametrize"]
        if name.startswith("test_"):
            yield from ((name, {mark.args[0]: value}) for mark in marks for value in mark.args[1])
            yield from [] if marks else [(name, {})]


async def fails(kind: type[Honest], name: str, parameters: dict[str, Any]) -> bool:
    """Return whether a ledger of this kind fails the case: by an assertion, or by an error of its own."""
    suite = Suite(kind)
    suite._opened = []
    try:
        with anyio.fail_after(30):
            await getattr(suite, name)(suite.another(), **parameters)
    except (AssertionError, pytest.fail.Exception, OSError, ExceptionGroup):
        return True
    return False


async def failed(kind: type[Honest]) -> set[str]:
    """Return the names of the cases that a ledger of this kind fails."""
    return {name for name, parameters in cases() if await fails(kind, name, parameters)}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Judge on one loop: it is the suite that is on trial here."""
    return "asyncio"


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_ledger_is_convicted(wrong: type[Honest]) -> None:
    """Each planted fault is noticed, and by the case that is there for it."""
    assert wrong.case in await failed(wrong)


def test_many_faults_are_planted() -> None:
    """The suite is on trial with faults in every call, and none is lost on the way from the files into the list."""
    assert len(WRONG) >= 60


@pytest.mark.parametrize("honest", [Honest, Forgetful])
async def test_honest_ledger_is_convicted_of_nothing(honest: type[Honest]) -> None:
    """The ledger that the wrong ones are made of passes every case, with rows that others see and without."""
    assert await failed(honest) == set()


def test_suite_has_about_a_hundred_cases() -> None:
    """No case is lost on the way from the files into the one class."""
    assert len(list(cases())) >= 100
    assert len({name for name, _ in cases()}) >= 80


async def test_cases_do_not_wait_for_ever() -> None:
    """A store whose time stands still fails the cases that wait for it to pass, instead of holding them up."""

    class Frozen(Honest):
        def __init__(self, store: Store, namespace: str) -> None:
            super().__init__(Store(memories=store.memories), namespace)

    frozen = await failed(Frozen)
    assert {"test_lease_that_is_over_holds_nothing", "test_failure_keeps_when_a_run_last_succeeded"} <= frozen


def test_store_has_one_memory_per_namespace() -> None:
    """Two ledgers of one namespace have their rows in common."""
    store = Store(FakeClock())
    assert Honest(store, "a").memory is Honest(store, "a").memory is not Honest(store, "b").memory
    assert isinstance(store.memories["a"], MemoryLedger)
