"""
Zones as stretches of constant offset, found through what any tzinfo can be asked.

A zone is asked for its offset once a day, and where that changed the instant is found by bisection; so zones that
change twice within a day are outside of what is promised. No zone of the IANA database has done that since 1970: their
shortest stretch has 167 hours (``tests/core/test_cron_zones.py`` reads the database itself and compares).
"""

from __future__ import annotations

from datetime import UTC, datetime, timezone, tzinfo
from functools import lru_cache
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
        """Return the stretch that holds *instant*, known for at least a year to both sides."""
        last = self._last  # asked about now, most of the time; replaced whole, so that threads may ask too
        if last.start <= instant < last.end:
            return last
        number = instant // _BLOCK_MS
        start, end = (number - 1) * _BLOCK_MS, (number + 2) * _BLOCK_MS
        changes = (*self._changes(number - 1), *self._changes(number), *self._changes(number + 1))
        earlier = [change for change in changes if change.at <= instant]
        later = changes[len(earlier) :]
        if earlier:
            start, before, offset = earlier[-1]
        elif later:
            before = offset = later[0].before
        else:
            before = offset = self._offset(instant)
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
            known = self._blocks[block] = tuple(self._probe(block * _BLOCK_MS))
        return known

    def _probe(self, start: int) -> list[_Change]:
        changes = []
        before = self._offset(start)
        for day in range(start, start + _BLOCK_MS, _DAY_MS):
            after = self._offset(day + _DAY_MS)
            if after != before:
                low, high = day, day + _DAY_MS
                while high - low > SECOND_MS:
                    middle = (low + high) // (2 * SECOND_MS) * SECOND_MS
                    if self._offset(middle) == before:
                        low = middle
                    else:
                        high = middle
                changes.append(_Change(high, before, after))
                before = after
        return changes

    def _offset(self, instant: int) -> int:
        # Local time ends where datetimes do, up to a day inside the first and last ones that UTC can tell.
        inside = min(max(instant, EARLIEST + 2 * _DAY_MS), LATEST - 2 * _DAY_MS)
        offset = from_ms(inside).astimezone(self._tz).utcoffset()
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
    remedy = "is no timezone known here; write an IANA name such as 'Europe/Berlin'"
    try:
        ZoneInfo("Europe/Berlin")
    except KeyError:
        remedy = "cannot be looked up: this system has no timezone data; pip install tzdata supplies it"
    raise ScheduleError("tz", tz, remedy)
