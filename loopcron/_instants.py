"""
Instants and durations: aware datetimes and timedeltas outside, whole milliseconds inside.

Integers because slots are compared and added for years: 0.1 s three times is not 0.3 s. Nothing here knows "now".
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final

from loopcron._errors import ConfigError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BARE_EPOCH: Final = EPOCH.replace(tzinfo=None)
"""To write instants by: a third faster where no offset has to be asked for, written and replaced."""
ZERO: Final = timedelta(0)
MILLISECOND: Final = timedelta(milliseconds=1)
SECOND_MS: Final = 1_000
HOUR_MS: Final = 3_600_000
LONGEST: Final = timedelta(days=3653)
LONGEST_MS: Final = LONGEST // MILLISECOND


def to_ms(instant: datetime) -> int:
    """Return the whole milliseconds from the epoch to *instant*, an aware datetime, rounded down."""
    return (instant - EPOCH) // MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return the instant as an aware datetime in UTC."""
    return EPOCH + milliseconds * MILLISECOND


def iso(milliseconds: int) -> str:
    """Return the instant in RFC 3339, in UTC with milliseconds: ``2026-03-29T01:00:00.000Z``."""
    return f"{(_BARE_EPOCH + milliseconds * MILLISECOND).isoformat(timespec='milliseconds')}Z"


def aware(field: str, value: object, error: type[ConfigError] = ConfigError) -> datetime:
    """Return *value* if it is an aware datetime, else raise *error*, which names the *field*."""
    if not isinstance(value, datetime):
        raise error(field, value, "must be a datetime with a timezone, such as datetime(2026, 3, 1, tzinfo=UTC)")
    if value.utcoffset() is None:
        raise error(field, value, "has no timezone; say which one is meant, such as value.replace(tzinfo=UTC)")
    return value


def up_to_ms(field: str, value: object, error: type[ConfigError] = ConfigError) -> int:
    """
    Return the whole milliseconds from the epoch to *value*, an aware datetime, rounded up.

    Raises *error*, which names the *field*, for any other value, and where no datetime in UTC can tell the result.
    """
    milliseconds = -((EPOCH - aware(field, value, error)) // MILLISECOND)
    try:
        from_ms(milliseconds)
    except OverflowError:
        raise error(field, value, "must lie within the years 1 to 9999 in UTC") from None
    return milliseconds


def span_ms(
    field: str,
    value: object,
    *,
    least: timedelta = MILLISECOND,
    error: type[ConfigError] = ConfigError,
) -> int:
    """
    Return a duration in whole milliseconds.

    Args:
        field: The name that the message gives to the setting.
        value: A timedelta from *least* to ten years. Numbers are refused, bools and infinities among them:
            nobody can see whether they mean seconds or minutes.
        least: The shortest that is accepted.
        error: What to raise.
    """
    if not isinstance(value, timedelta):
        raise error(field, value, "must be a timedelta, such as timedelta(minutes=15)")
    if value < least or value > LONGEST:
        raise error(field, value, f"must be between {least} and ten years")
    milliseconds, rest = divmod(value.microseconds, 1_000)
    if rest:
        raise error(field, value, "must be whole milliseconds")
    return (value.days * 86_400 + value.seconds) * 1_000 + milliseconds  # in half the time that a division takes


def spread_ms(key: str, below: int) -> int:
    """
    Return a number of ms from 0 to under *below*, 0 if that is 0: a hash of *key*, so the same in every process.

    CRC-32, because it is in every Python, equal everywhere, and spreads the keys that differ in a digit; nobody
    gains by guessing it.
    """
    return zlib.crc32(key.encode()) * below >> 32
