"""
The cron engine against the minute oracle: the short form of the proof.

``make proof-cron`` asks two hundred thousand cases in all zones; tests/cron/prove.py says how.
"""

from __future__ import annotations

from random import Random

import pytest

from loopcron import ScheduleError, cron
from tests.cron.cases import ODD_ZONES, Schedule, all_zones, faults, random_cases, random_text
from tests.cron.minute_oracle import RefusedError, parse


def loopcron_engine(line: str, zone: str) -> Schedule:
    """Make the engine's schedule."""
    return cron(line, tz=zone)


@pytest.mark.parametrize("seed", range(1, 7))
def test_engine_agrees_with_the_oracle(seed: int) -> None:
    """In either direction the engine names the slot that the oracle walks to, and the way back leads back."""
    rng = Random(seed)
    zones = sorted({*ODD_ZONES, *rng.sample(all_zones(), 8)})
    assert not [fault for case in random_cases(rng, 500, zones) for fault in faults(case, loopcron_engine)]


def is_accepted_by_engine(text: str) -> bool:
    """Say whether the engine takes the text for a line."""
    try:
        cron(text)
    except ScheduleError:
        return False
    return True


def is_accepted_by_oracle(text: str) -> bool:
    """Say whether the oracle takes the text for a line."""
    try:
        parse(text)
    except RefusedError:
        return False
    return True


def test_engine_refuses_what_the_oracle_refuses() -> None:
    """Of lines with and without flaws the engine accepts those that the rules allow, and no other."""
    rng = Random(1)
    texts = [random_text(rng) for _ in range(4000)]
    accepted = [text for text in texts if is_accepted_by_oracle(text)]
    assert [text for text in texts if is_accepted_by_engine(text)] == accepted
    assert 500 < len(accepted) < 3500
