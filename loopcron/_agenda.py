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
        self._buckets: dict[int, _E | list[_E]] = {}
        """Who stands alone at its instant, as idle jobs mostly do, needs no list: it would be a tenth of such a job."""
        self._begun: dict[int, int] = {}
        """How many of a bucket were taken already, where some are left: from its front, first come first served, and to
        delete them there would move all others each time."""
        self._counting = 0
        self._stale = 0

    def may_be_due(self, now: int) -> bool:
        """Return False if no entry counts at or before *now*, at a fifth of what `first` takes."""
        return bool(self._heap) and self._heap[0] <= now

    def first(self) -> int | None:
        """Return the earliest instant at which an entry counts."""
        heap = self._heap
        while heap:
            at = heap[0]
            bucket = self._buckets[at]
            # Nobody is to be woken for what is stale, such as the deadline of a run that has ended.
            if isinstance(bucket, list):
                begun = self._begun.get(at, 0)
                while len(bucket) > begun and bucket[-1].armed != at:
                    bucket.pop()
                    self._stale -= 1
                if len(bucket) > begun:
                    return at
            elif bucket.armed == at:
                return at
            else:
                self._stale -= 1
            self._end(at)
        return None

    def put(self, entry: _E, at: int) -> None:
        """Let *entry* count in the bucket of *at*, and in no other."""
        before = entry.armed
        if before == at:
            return
        entry.armed = at
        bucket = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = entry
            heapq.heappush(self._heap, at)
        elif isinstance(bucket, list):
            bucket.append(entry)
        else:
            self._buckets[at] = [bucket, entry]
        if before is None:
            self._counting += 1
        else:
            self._stale += 1
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
            part = self._take(at, limit)
            limit -= len(part)
            for entry in part:
                if entry.armed == at:
                    entry.armed = None
                    self._counting -= 1
                    taken.append(entry)
                else:
                    self._stale -= 1
        return taken

    def _take(self, at: int, limit: int) -> list[_E]:
        """Take out of the first bucket what comes first, stale ones too."""
        bucket = self._buckets[at]
        if not isinstance(bucket, list):
            heapq.heappop(self._heap)
            del self._buckets[at]
            return [bucket]
        begun = self._begun.get(at, 0)
        part = bucket[begun : begun + limit]
        self._begun[at] = begun + len(part)
        if begun + len(part) == len(bucket):
            self._end(at)
        return part

    def _end(self, at: int) -> None:
        """Forget the first bucket, of which nothing is left."""
        heapq.heappop(self._heap)
        del self._buckets[at]
        self._begun.pop(at, None)

    def _sweep(self) -> None:
        standing: dict[int, _E] = {}
        for bucket in self._buckets.values():
            for entry in bucket if isinstance(bucket, list) else (bucket,):
                standing[id(entry)] = entry
        self._heap, self._buckets, self._begun = [], {}, {}
        self._counting = self._stale = 0
        for entry in standing.values():
            at, entry.armed = entry.armed, None
            if at is not None:
                self.put(entry, at)
