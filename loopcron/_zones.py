"""
Zones as stretches of constant offset, found through what any tzinfo can be asked.

A zone is asked for its offset once a day, and where that changed the instant is found by bisection; so zones that
change twice within a day are outside of what is promised. No zone of the IANA database has done that since 1970: their
shortest stretch has 167 hours (``tests/core/test_cron_zones.py`` reads the database itself and compares).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple, final

from loopcron._errors import ScheduleError
from loopcron._instants import MILLISECOND, SECOND_MS, from_ms, to_ms

EARLIEST: Final = to_ms(datetime.min.replace(tzinfo=UTC))
LATEST: Final = to_ms(datetime.max.replace(tzinfo=UTC))
"""The instants that a datetime in UTC can tell."""

_DAY_MS: Final = 86_400 * SECOND_MS
_BLOCK_MS: Final = 365 * _DAY_MS
"""So much is asked about at a time: one year, so that a zone costs 0.3 ms per year that is looked at."""
_BLOCKS: Final = 256
"""How many of them are remembered per zone; as many are enough for 1970 to 2199."""
_FAR: Final = 1 << 62
_FIRST: Final = EARLIEST + 2 * _DAY_MS
_LAST: Final = LATEST - 2 * _DAY_MS
"""What can be asked: local time ends where datetimes do, up to a day before UTC does."""
_DAYS: Final = [timedelta(days=day) for day in range(366)]


class Stretch(NamedTuple):
    """A time during which a zone keeps one offset. All in ms; local time is UTC plus the offset."""

    start: int
    """Its first instant; where *before* equals *offset* it is no change, only as far as was looked."""
    end: int
    """The first instant after it."""
    offset: int
    before: int
    """The offset until the start."""
    after: int
    """The offset from the end on."""


class _Change(NamedTuple):
    at: int
    before: int
    after: int


@final
class Zone:
    """
    What one tzinfo says, remembered.

    Args:
        tz: Any tzinfo that answers for every instant.
    """

    __slots__ = ("_blocks", "_last", "_tz")

    def __init__(self, tz: tzinfo) -> None:
        self._tz = tz
        self._blocks: dict[int, tuple[_Change, ...]] = {}
        offset = self._offset(0)
        # A timezone has one offset for ever; of any other tzinfo nothing is known yet.
        edge = _FAR if isinstance(tz, timezone) else 0
        self._last = Stretch(-edge, edge, offset, offset, offset)

    def stretch(self, instant: int) -> Stretch:
        """Return the stretch that holds *instant*; an end of it that is no change has none for a year beyond it."""
        last = self._last  # asked about now, most of the time; replaced whole, so that threads may ask too
        if last.start <= instant < last.end:
            return last
        number = instant // _BLOCK_MS
        start, end = number * _BLOCK_MS, (number + 1) * _BLOCK_MS
        changes = (*self._changes(number - 1), *self._changes(number), *self._changes(number + 1))
        earlier = [change for change in changes if change.at <= instant]
        later = changes[len(earlier) :]
        if earlier:
            start, before, offset = earlier[-1]
        else:
            before = offset = self._offset(start)
        after = offset
        if later:
            end, _, after = later[0]
        found = self._last = Stretch(start, end, offset, before, after)
        return found

    def _changes(self, block: int) -> tuple[_Change, ...]:
        """Return the changes of offset after the block's first instant, up to that of the next block."""
        known = self._blocks.get(block)
        if known is None:
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            start = block * _BLOCK_MS
            inside = start > _FIRST and start + _BLOCK_MS < _LAST
            known = self._blocks[block] = tuple(self._probe(start)) if inside else ()
        return known

    def _probe(self, start: int) -> Iterator[_Change]:
        first = from_ms(start)
        days = range(start, start + _BLOCK_MS, _DAY_MS)
        offsets = [(first + day).astimezone(self._tz).utcoffset() for day in _DAYS]
        for low, (before, after) in zip(days, pairwise(offsets), strict=True):
            if before != after:
                yield self._change(low)

    def _change(self, low: int) -> _Change:
        """Return the change of offset within the day that begins at *low*."""
        high = low + _DAY_MS
        before = self._offset(low)
        while high - low > SECOND_MS:
            middle = (low + high) // (2 * SECOND_MS) * SECOND_MS
            if self._offset(middle) == before:
                low = middle
            else:
                high = middle
        return _Change(high, before, self._offset(high))

    def _offset(self, instant: int) -> int:
        offset = from_ms(min(max(instant, _FIRST), _LAST)).astimezone(self._tz).utcoffset()
        assert offset is not None, "utcoffset is None"
        return offset // MILLISECOND


_zone = lru_cache(maxsize=64)(Zone)


def zone_of(tz: tzinfo) -> Zone:
    """
    Return what is known of *tz*; schedules in one zone share it.

    Raises:
        ScheduleError: It cannot tell its offset.
    """
    try:
        try:
            return _zone(tz)
        except TypeError:  # a tzinfo of somebody's own that cannot be hashed
            return Zone(tz)
    except Exception as error:
        raise ScheduleError("tz", tz, f"must tell its utcoffset for any instant, and raised {error!r}") from error


def named(tz: str | tzinfo) -> tzinfo:
    """
    Return the timezone that *tz* names, or is.

    Raises:
        ScheduleError: There is none of this name here.
    """
    if isinstance(tz, tzinfo):
        return tz
    if not isinstance(tz, str):
        raise ScheduleError("tz", tz, "must be an IANA name such as 'Europe/Berlin', or a tzinfo")
    if tz == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError):  # unknown; no name, such as "../x"; a folder, or too long for a file
        pass
    remedy = "is no timezone known here; write an IANA name such as 'Europe/Berlin'; pip install tzdata supplies all"
    raise ScheduleError("tz", tz, remedy)
