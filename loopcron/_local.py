"""
Cron schedules: the minutes of a cron line in a zone's local time, as slots.

All rules about shifts of local time are here, told in stretches of constant offset. The source is cron(8) of Debian:
jobs whose minute or hour starts with ``*`` follow real minutes, all others are fixed times of day, which a shift of
less than three hours neither loses nor doubles; a greater one is a correction of the clock, and the new time simply
holds. Pinned story by story in ``tests/core/test_cron_dst.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, NoReturn, final

from loopcron._calendar import Calendar
from loopcron._cron import parse, split
from loopcron._errors import ScheduleError
from loopcron._instants import HOUR_MS
from loopcron._schedules import MsSchedule
from loopcron._zones import EARLIEST, LATEST, Zone, named, zone_of

_MINUTE_MS: Final = 60_000
_CORRECTION: Final = 3 * HOUR_MS
"""A shift of so much is no summer time."""
_REACH: Final = 50 * 366 * 24 * HOUR_MS
"""How far is searched: fifty years. The rarest day of the calendar comes within forty."""
_MARGIN: Final = 48 * HOUR_MS
"""Two offsets differ by less: what matches nothing so long before a local minute matches nothing in any stretch."""


@final
@dataclass(frozen=True, slots=True)
class Cron(MsSchedule):
    """The slots of a cron line in a timezone; made by `cron`."""

    line: str
    tz: tzinfo
    _calendar: Calendar = field(init=False, repr=False, compare=False)
    _zone: Zone = field(init=False, repr=False, compare=False)
    _is_fixed: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        calendar = Calendar(parse(self.line))
        if not calendar.matches_ever():
            _refuse_never(self.line)
        object.__setattr__(self, "_calendar", calendar)
        object.__setattr__(self, "_zone", zone_of(self.tz))
        object.__setattr__(self, "_is_fixed", not calendar.fields.frequent)

    def next_ms(self, instant: int) -> int | None:
        """Return the first slot strictly after *instant*, both in ms; None if there is none for fifty years."""
        if not EARLIEST <= instant <= LATEST:
            return None
        limit = min(instant + _REACH, LATEST)
        at = instant
        while at <= limit:
            start, end, offset, before, after = self._zone.stretch(at)
            # Where the search goes on beyond the first stretch, a slot on its first instant is wanted too.
            local = (at if at == instant else at - 1) + offset
            if before != offset and self._is_fixed:
                if offset < before < offset + _CORRECTION:  # in a fold the first pass was enough
                    local = max(local, start + before - 1)
                elif instant < start + _MINUTE_MS:
                    made_up = self._made_up(start, offset, before)
                    if made_up is not None and made_up > instant:
                        return made_up
            minute = self._calendar.after(local // _MINUTE_MS)
            if minute is None:
                return None
            slot = minute * _MINUTE_MS - offset
            if slot < end:
                assert slot > instant
                return slot if slot <= limit else None
            # A fold repeats what has passed, so it is looked at; else nothing matches until shortly before the slot.
            at = end if after < offset else max(end, slot - _MARGIN)
        return None

    def latest_ms(self, instant: int) -> int | None:
        """Return the last slot at or before *instant*, both in ms; None if there was none for fifty years."""
        if not EARLIEST <= instant <= LATEST:
            return None
        limit = max(instant - _REACH, EARLIEST)
        at = instant
        while at >= limit:
            start, _, offset, before, _ = self._zone.stretch(at)
            begin, made_up = start, None
            if before != offset and self._is_fixed:
                if offset < before < offset + _CORRECTION:
                    begin = start + before - offset
                else:
                    made_up = self._made_up(start, offset, before)
            minute = self._calendar.until((at + offset) // _MINUTE_MS)
            if minute is None:
                return None
            slot = minute * _MINUTE_MS - offset
            if slot >= begin:
                return slot if slot >= limit else None
            if made_up is not None and made_up <= instant:
                return made_up
            at = start - 1 if before > offset else min(start - 1, slot + _MARGIN)
        return None

    def _made_up(self, start: int, offset: int, before: int) -> int | None:
        """Return the slot that stands for what the gap before a stretch swallowed, or None if that is nothing."""
        if not before < offset < before + _CORRECTION:
            return None
        lost = self._calendar.after((start + before - 1) // _MINUTE_MS)
        if lost is None or lost * _MINUTE_MS >= start + offset:
            return None
        # The first start of a local minute: where an offset has odd seconds that is not the shift itself.
        return -(-(start + offset) // _MINUTE_MS) * _MINUTE_MS - offset

    def describe(self) -> str:
        """Return the rule in plain English: ``at 02:30 on weekdays, Europe/Berlin``."""
        from loopcron._describe import cron_text

        return f"{cron_text(self._calendar.fields)}, {self.tz}"

    def __str__(self) -> str:
        """Return the rule as it was written: ``cron 30 2 * * 1-5, Europe/Berlin``."""
        return f"cron {self.line}, {self.tz}"


def cron(line: str, tz: str | tzinfo = "UTC") -> Cron:
    """
    Return a schedule with the slots of a cron line.

    Five fields, separated by blanks: minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), day of
    week (0-7 or SUN-SAT; 0 and 7 are Sunday). A field is a list of ``*``, ``a``, ``a-b``, ``*/step`` and
    ``a-b/step``. Among the days of the month also ``L`` (the last one), ``LW`` (the last one from Monday to Friday)
    and ``15W`` (the day from Monday to Friday that is nearest to the 15th, in the same month); among the days of the
    week ``FRI#2`` (the second Friday of the month) and ``FRIL`` (the last one). Instead of all fields ``@hourly``,
    ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``, ``@yearly`` or ``@annually``.

    If both day fields are restricted, a day need match one of them; but if one of them starts with ``*``, it must
    match both.

    Where the zone's local time shifts: a line whose minute or hour starts with ``*`` follows real minutes, so it has
    nothing in a gap and everything twice in a fold. Any other line is a fixed time of day: what falls into a gap is
    one slot at its end, and in a fold the first pass counts. A shift of three hours or more is a correction: the new
    time simply holds.

    Source: crontab(5) and cron(8) of Debian; Quartz for L, W and #. Pinned in ``tests/core/test_cron_grammar.py``
    and ``tests/core/test_cron_dst.py``.

    Args:
        line: At most 1,000 characters. A line that names no day of any year is refused.
        tz: An IANA name, or a tzinfo.

    Raises:
        ScheduleError: *line* is no such line, with the field, the column and what would do; or there is no such
            timezone.
    """
    return Cron(line, named(tz))


def _refuse_never(line: str) -> NoReturn:
    _, columns = split(line)
    where = f"day of month (column {columns[2]}), month (column {columns[3]}) or day of week (column {columns[4]})"
    raise ScheduleError("line", line, f"names a day that no year has; change {where}")
