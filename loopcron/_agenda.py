"""
Which jobs need a look, and when: a heap of instants, and for each a bucket of the jobs that stand in it.

Jobs due on one instant share one heap operation, and nothing is proportional to the number of idle jobs. Tuples of
(instant, job) in the heap would be compared by job on ties, and raise.
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar, final


class Armed(Protocol):
    """What stands in a bucket."""

    armed: int | None
    """The instant in whose bucket it counts, in ms; entries elsewhere are stale."""


_E = TypeVar("_E", bound=Armed)


@final
class Agenda(Generic[_E]):
    """
    The buckets. An entry counts in one of them; those that an earlier look left behind are stale.

    Stale ones are dropped when their instant comes, and swept out when they outnumber the entries that count, so
    that adding and removing for ever stays bounded.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._buckets: dict[int, list[_E]] = {}
        self._counting = 0
        self._stale = 0

    def first(self) -> int | None:
        """Return the earliest instant at which an entry counts."""
        heap = self._heap
        while heap:
            at = heap[0]
            bucket = self._buckets[at]
            # Nobody is to be woken for what is stale, such as the deadline of a run that has ended.
            while bucket and bucket[-1].armed != at:
                bucket.pop()
                self._stale -= 1
            if bucket:
                return at
            heapq.heappop(heap)
            del self._buckets[at]
        return None

    def put(self, entry: _E, at: int) -> None:
        """Let *entry* count in the bucket of *at*, and in no other."""
        if entry.armed is not None:
            if entry.armed == at:
                return
            self.drop(entry)
        entry.armed = at
        self._counting += 1
        self._stand(entry, at)
        if self._stale > 64 + 2 * self._counting:
            self._sweep()

    def drop(self, entry: _E) -> None:
        """Let *entry* count nowhere."""
        if entry.armed is not None:
            entry.armed = None
            self._counting -= 1
            self._stale += 1

    def take(self, now: int, limit: int) -> list[_E]:
        """Take out what stands at or before *now*, at most *limit* entries; they count nowhere any more."""
        taken: list[_E] = []
        heap = self._heap
        while heap and heap[0] <= now and limit > 0:
            at = heap[0]
            bucket = self._buckets[at]
            part = bucket[-limit:]
            del bucket[-limit:]
            if not bucket:
                heapq.heappop(heap)
                del self._buckets[at]
            limit -= len(part)
            for entry in part:
                if entry.armed == at:
                    entry.armed = None
                    self._counting -= 1
                    taken.append(entry)
                else:
                    self._stale -= 1
        return taken

    def _stand(self, entry: _E, at: int) -> None:
        bucket = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = [entry]
            heapq.heappush(self._heap, at)
        else:
            bucket.append(entry)

    def _sweep(self) -> None:
        standing = {id(entry): entry for bucket in self._buckets.values() for entry in bucket}
        self._heap, self._buckets, self._stale = [], {}, 0
        for entry in standing.values():
            if entry.armed is not None:
                self._stand(entry, entry.armed)
