"""The agenda: who needs a look, and when."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._agenda import Agenda
from loopcron._every import every
from loopcron._ledger import BATCH, LOCAL_BATCH, Claim
from loopcron._policies import Policy
from loopcron._timetable import Timetable
from tests.rows import registered

START = 1_772_323_200_000
MINUTE = 60_000


class Item:
    """Something that stands in the agenda."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.armed: int | None = None


def size(agenda: Agenda[Any]) -> int:
    """Return how many entries stand in it, stale ones too."""
    standing = sum(len(bucket) if isinstance(bucket, list) else 1 for bucket in agenda._buckets.values())
    return standing - sum(agenda._begun.values())


def test_agenda_hands_out_in_the_order_of_instants() -> None:
    """What stands at or before now comes out, earlier instants first, those of one instant in the order they came."""
    agenda: Agenda[Item] = Agenda()
    items = [Item(name) for name in "abcd"]
    for item, instant in zip(items, (20, 10, 10, 30), strict=True):
        agenda.put(item, instant)
    assert agenda.first() == 10
    assert agenda.take(9, 10) == []
    assert [item.name for item in agenda.take(20, 10)] == ["b", "c", "a"]
    assert agenda.first() == 30
    assert [item.armed for item in items] == [None, None, None, 30]


def test_entry_counts_where_it_was_put_last() -> None:
    """An entry put again counts at the new instant only; where it stood is stale, hands out nothing, wakes nobody."""
    agenda: Agenda[Item] = Agenda()
    item, other = Item("a"), Item("b")
    agenda.put(item, 20)
    agenda.put(item, 30)
    assert agenda.first() == 30
    agenda.put(item, 10)
    agenda.put(item, 40)
    agenda.put(other, 20)
    assert agenda.take(20, 10) == [other]
    assert agenda.first() == 40
    assert agenda.take(40, 10) == [item]
    assert agenda.first() is None
    assert agenda._stale == agenda._counting == 0


def test_dropped_entry_is_not_handed_out() -> None:
    """An entry that was dropped counts nowhere; dropping it again, or putting it back, works."""
    agenda: Agenda[Item] = Agenda()
    item = Item("a")
    agenda.put(item, 10)
    agenda.drop(item)
    agenda.drop(item)
    assert agenda.take(10, 10) == []
    agenda.put(item, 20)
    agenda.drop(item)
    agenda.put(item, 20)
    assert agenda.take(20, 10) == [item], "it stands there twice and counts once"


def test_limit_splits_a_bucket() -> None:
    """No more than the limit comes out at once, and nothing of the rest is lost."""
    agenda: Agenda[Item] = Agenda()
    for number in range(7):
        agenda.put(Item(str(number)), 10)
    taken = [item.name for _ in range(2) for item in agenda.take(10, 2)]
    assert agenda.first() == 10
    taken += [item.name for _ in range(2) for item in agenda.take(10, 2)]
    assert taken == list("0123456"), "first come first served"
    assert agenda.take(10, 2) == []
    assert agenda.first() is None


def test_stale_entries_are_swept_out() -> None:
    """Entries put and dropped for ever leave at most 64 stale ones, and twice as many as count."""
    agenda: Agenda[Item] = Agenda()
    stays = Item("stays")
    agenda.put(stays, 10**9)
    for number in range(10_000):
        item = Item(str(number))
        agenda.put(item, 10**6 + number)
        agenda.drop(item)
        assert size(agenda) <= 64 + 2 * 2 + 1 + 1
        assert len(agenda._heap) == len(agenda._buckets)
    assert agenda.take(10**9, 100) == [stays]


def test_rest_of_a_bucket_may_become_stale() -> None:
    """A bucket of which all were taken or dropped is gone, and what is put there later counts."""
    agenda: Agenda[Item] = Agenda()
    first, second = Item("first"), Item("second")
    agenda.put(first, 10)
    agenda.put(second, 10)
    assert agenda.take(10, 1) == [first]
    agenda.drop(second)
    assert agenda.first() is None
    agenda.put(first, 10)
    assert agenda.take(10, 2) == [first]
    assert size(agenda) == agenda._stale == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["put", "drop", "take", "one"]), st.integers(0, 50))))
def test_agenda_is_a_table_of_instants(steps: list[tuple[int, str, int]]) -> None:
    """Whatever is put, dropped and taken, what comes out is what a plain table would give."""
    agenda: Agenda[Item] = Agenda()
    items = [Item(str(number)) for number in range(10)]
    table: dict[Item, int] = {}
    for number, kind, instant in steps:
        item = items[number]
        if kind == "put":
            agenda.put(item, instant)
            table[item] = instant
        elif kind == "drop":
            agenda.drop(item)
            table.pop(item, None)
        elif kind == "one":
            for item in agenda.take(instant, 1):
                assert table[item] == min(table.values())
                del table[item]
        else:
            taken = agenda.take(instant, 1_000)
            assert set(taken) == {item for item, at in table.items() if at <= instant}
            table = {item: at for item, at in table.items() if at > instant}
        first = agenda.first()
        assert first == min(table.values(), default=None)
        assert size(agenda) == agenda._counting + agenda._stale
        assert agenda._counting == len(table)


def crowd(jobs: int, *, shared: bool) -> Timetable:
    """Return a timetable with jobs that are due every minute."""
    timetable = Timetable(START, shared=shared)
    names = [f"j{number:04}" for number in range(jobs)]
    for name in names:
        timetable.handle(e.Added(name, every(minutes=1), Policy()), START)
    timetable.handle(registered(names, [START] * len(names)), START)
    timetable.poll(START)
    return timetable


def test_crowd_is_handed_out_in_chunks() -> None:
    """Of jobs due on one instant as many come at a poll as one call takes, with `More` last until none is left."""
    timetable = crowd(2 * LOCAL_BATCH + 1, shared=False)
    sizes = []
    while actions := timetable.poll(START + MINUTE):
        sizes.append(sum(isinstance(action, Claim) for action in actions))
        assert isinstance(actions[-1], e.More) == (len(sizes) < 3)
        assert [action for action in actions if isinstance(action, e.More)] == [e.More("", START + MINUTE)] * (
            len(sizes) < 3
        )
    assert sizes == [LOCAL_BATCH, LOCAL_BATCH, 1]


def test_chunks_are_larger_where_a_call_goes_far() -> None:
    """With a ledger that others share a poll looks at as many jobs as go in one of its calls, which are dear."""
    timetable = crowd(2 * BATCH + 1, shared=True)
    more = (e.More("", START + MINUTE),)
    assert [timetable.poll(START + MINUTE) for _ in range(3)] == [more, more, ()], "they ask in a moment, spread"


def test_adding_and_removing_for_ever_stays_bounded() -> None:
    """Jobs that come and go, and runs that start and end, leave nothing behind in the timetable."""
    timetable = Timetable(START)
    for number in range(2_000):
        now = START + number
        name = f"j{number}"
        timetable.handle(e.Added(name, every(hours=1), Policy()), now)
        timetable.handle(registered([name], [now]), now)
        timetable.handle(e.Triggered(name, f"{name}@manual"), now)
        started = [action for action in timetable.poll(now) if isinstance(action, e.RunStarted)]
        timetable.handle(e.AttemptEnded(started[0].run_id, None), now)
        timetable.handle(e.Removed(name), now)
        timetable.poll(now)
    agenda = timetable._agenda
    assert size(agenda) < 100
    left = (
        timetable._jobs,
        timetable._live._running,
        timetable._live._stuck,
        timetable._claims._open,
        timetable._places.line,
    )
    assert not any(left)
