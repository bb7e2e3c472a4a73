"""Schedules in plain English."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loopcron._combined import any_of
from loopcron._every import at, every
from loopcron._local import cron

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("30 2 * * MON-FRI", "at 02:30 on weekdays"),
        ("30 2 * * *", "at 02:30 every day"),
        ("30 2 1-31 * MON", "at 02:30 every day"),
        ("0 9,12,18 * * *", "at 09:00, 12:00 and 18:00 every day"),
        ("*/5 * * * *", "every 5 minutes"),
        ("* * * * *", "every minute"),
        ("0-59 * * * *", "every minute"),
        ("0 * * * *", "every hour"),
        ("@hourly", "every hour"),
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:59 on weekdays"),
        ("* 2 * * *", "every minute from 02:00 to 02:59"),
        ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 */5 * * *", "on the hour at 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("*/20 */2 * * *", "every 20 minutes of every 2nd hour from 0 to 22"),
        ("*/20 1,2,4 * * *", "every 20 minutes of hours 1, 2 and 4"),
        ("7 * * * *", "at minute 7 of every hour"),
        ("7,8 * * * *", "at minutes 7 and 8 of every hour"),
        ("7 9-17 * * *", "at minute 7 of hours 9 to 17"),
        ("1,2,3,10 5,7,19 * JAN *", "at minutes 1 to 3 and 10 of hours 5, 7 and 19 in January"),
        ("1-5,7 9 * * *", "at minutes 1 to 5 and 7 of hour 9"),
        ("3-59/7 * * * *", "at every 7th minute from 3 to 59 of every hour"),
        ("*/7 * * * *", "at every 7th minute from 0 to 56 of every hour"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 LW * *", "at 00:00 on the last weekday of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest the 15th"),
        ("0 0 1,15,L * *", "at 00:00 on the 1st and the 15th and the last day of the month"),
        ("0 0 1-7,9 * *", "at 00:00 on the 1st to the 7th and the 9th"),
        ("0 0 */2 * *", "at 00:00 on every 2nd day from the 1st to the 31st"),
        (
            "0 0 2,3,11,12,13,21,22,23 * *",
            "at 00:00 on the 2nd, the 3rd, the 11th to the 13th and the 21st to the 23rd",
        ),
        ("0 0 1 1 *", "at 00:00 on the 1st in January"),
        ("0 0 * 6-8 *", "at 00:00 every day in June to August"),
        ("0 0 * */2 *", "at 00:00 every day in every 2nd month from January to November"),
        ("*/5 * * 6 *", "every 5 minutes in June"),
        ("0 12 1 * MON", "at 12:00 on the 1st and on Mondays"),
        ("0 12 */2 * MON", "at 12:00 on Mondays, but only on every 2nd day from the 1st to the 31st"),
        ("0 12 * * SUN,WED,MON", "at 12:00 on Mondays, Wednesdays and Sundays"),
        ("0 12 * * 0,6", "at 12:00 on weekends"),
        ("0 12 * * FRI#2", "at 12:00 on the 2nd Friday of the month"),
        ("0 12 * * FRIL", "at 12:00 on the last Friday of the month"),
        ("0 12 * * MON,FRI#2,FRIL", "at 12:00 on Mondays, the 2nd Friday and the last Friday of the month"),
    ],
)
def test_cron_lines_are_told(line: str, text: str) -> None:
    """A cron line is told by its times, days and months, and always with its zone."""
    assert cron(line).describe() == f"{text}, UTC"
    assert cron(line, "Europe/Berlin").describe() == f"{text}, Europe/Berlin"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (every(minutes=15), "every 15 minutes"),
        (every(minutes=1), "every minute"),
        (every(hours=1), "every hour"),
        (every(days=1), "every day"),
        (every(milliseconds=1), "every ms"),
        (every(milliseconds=1_500), "every 1 second 500 ms"),
        (every(minutes=90), "every 1 hour 30 minutes"),
        (every(hours=25), "every 1 day 1 hour"),
        (every(hours=1, phase=timedelta(seconds=7)), "every hour, 7 seconds later"),
        (every(hours=1, phase=timedelta(minutes=1)), "every hour, 1 minute later"),
        (every(hours=1, phase="spread"), "every hour, spread by the job's name"),
        (every(hours=1, anchor="start"), "every hour, from the start"),
        (every(hours=1, phase="spread", anchor="start"), "every hour, spread by the job's name, from the start"),
        (at(NOON), "once at 2026-03-01 12:00 UTC"),
        (at(NOON + timedelta(seconds=5)), "once at 2026-03-01 12:00:05 UTC"),
        (at(NOON + timedelta(milliseconds=5)), "once at 2026-03-01 12:00:00.005 UTC"),
        (any_of(every(hours=1), at(NOON)), "every hour; or once at 2026-03-01 12:00 UTC"),
        (every(hours=1).between(NOON, None), "every hour, from 2026-03-01 12:00 UTC"),
        (every(hours=1).between(None, NOON), "every hour, until 2026-03-01 12:00 UTC"),
    ],
)
def test_other_rules_are_told(rule: object, text: str) -> None:
    """Every schedule of ours tells itself."""
    assert rule.describe() == text  # type: ignore[attr-defined]


def test_bound_rule_is_told_alike() -> None:
    """A rule from the start is told alike once the start is known."""
    assert every(hours=1, anchor="start").bound("job", 0).describe() == "every hour, from the start"


def test_union_tells_its_users_schedules() -> None:
    """Within a union a user's schedule is told by its own text."""

    class Theirs:
        def next_after(self, instant: datetime) -> datetime | None:
            return None

        latest_until = next_after

        def __str__(self) -> str:
            return "never"

    assert any_of(every(hours=1), Theirs()).describe() == "every hour; or never"
