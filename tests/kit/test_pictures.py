"""The pictures of a timeline: lanes for a terminal, and an SVG document that is safe and says all in words too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest

from loopcron import Busy, ConfigError, Failed, FunctionJob, HttpJob, Job, Scheduler, Skipped, Taken, every
from loopcron.testing import ClockStep, Drift, Outage, SimulatedAttempt, Suspend, Timeline, simulate
from loopcron.testing._marks import MARKS

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SVG = "{http://www.w3.org/2000/svg}"


def simulated(name: str = "sync", *, hours: int = 12, **options: Any) -> Timeline:
    return simulate([FunctionJob(name, every(hours=1), print)], start=START, duration=hours * HOUR, **options)


def story() -> Timeline:
    """Return a timeline in which everything happens."""

    def behave(attempt: SimulatedAttempt) -> Any:
        if attempt.job == "slow":
            return 7 * HOUR
        kinds = (200, 500, 409, HOUR, Taken(), Skipped("no_address"), Failed("job", "<b>&\"'</b>"))
        return kinds[attempt.slot.hour % 7]

    jobs: list[Job] = [
        HttpJob("sync", every(hours=1), "/", overlap="skip"),
        FunctionJob("a-job-whose-name-is-rather-long", every(hours=5), print),
        FunctionJob("slow", every(hours=6), print, timeout=None),
    ]
    return simulate(
        jobs,
        start=datetime(2026, 3, 27, tzinfo=ZoneInfo("Europe/Berlin")),
        duration=timedelta(days=4),
        behave=behave,
        keep_ledger=True,
        process=Outage(30 * HOUR, 5 * HOUR),
        transport=Outage(40 * HOUR, 2 * HOUR),
        ledger=Outage(45 * HOUR, 2 * HOUR),
        clock=[
            *(ClockStep(50 * HOUR, 2 * HOUR), Suspend(60 * HOUR, 4 * HOUR)),
            *(Drift(70 * HOUR, 1.0001), ClockStep(80 * HOUR, -HOUR)),
        ],
    )


def test_text() -> None:
    """The text has a scale, a lane per job with one mark per column, and what the marks mean."""
    timeline = simulated(behave=[200, 500, 409, Failed("job", "x")], hours=24)
    assert timeline.text(width=59).splitlines() == [
        "2026-03-01 00:00 to 2026-03-02 00:00 UTC; one column is 0:30:00",
        "           |03-01      |06:00      |12:00      |18:00",
        "sync       ..o.X.b.X.o.o.o.o.o.o.o.o.o.o.o.o.o.o.o.o.o.o.oo",
        "X failed   b busy   o succeeded",
    ]
    assert str(timeline) == timeline.text(width=100)


def test_text_shows_what_happened() -> None:
    """Outages and the clock have lanes of their own, and all that can happen has a mark that the legend explains."""
    text = story().text(width=130)
    for lane in ("process", "transport", "ledger", "clock", "sync", "a-job-whose-name-i..", "slow"):
        assert re.search(rf"^{re.escape(lane)} +\S+$", text, re.MULTILINE), lane
    for said in (
        *("? lost", "T timed out", "X failed", "! missed", "/ interrupted", "- skipped", "b busy", "o succeeded"),
        *("t taken", "# out of reach", "> set forward", "< set back", "z suspended", "~ drift", "= still alive"),
    ):
        assert said in text
    assert max(map(len, text.splitlines())) <= 130


def test_lanes_of_outages_cover_them() -> None:
    """An outage covers its columns, and the column that it begins in even if it is short."""
    timeline = simulated(
        hours=78, process=[Outage(timedelta(0), 10 * HOUR), Outage(77 * HOUR, 9 * HOUR)], transport=Outage(HOUR, MINUTE)
    )
    shown = dict(line.split() for line in timeline.text(width=89).splitlines()[2:4])
    assert shown["process"] == "#" * 10 + "." * 67 + "#"
    assert shown["transport"] == "." + "#" + "." * 76


def test_gravest_mark_is_shown() -> None:
    """Where several outcomes fall into one column the gravest is shown, whatever their order."""
    for behave in ([500, 409, 200], [200, 409, 500]):
        cells = simulated(behave=behave, hours=120).text(width=41).splitlines()[2].split()[1]
        assert cells[0] == "X"


def test_missed_slots_are_shown_where_they_were() -> None:
    """A range of slots is marked over its length, and after a suspend where the machine slept."""
    timeline = simulated(hours=78, clock=[Suspend(10 * HOUR + MINUTE, 20 * HOUR)])
    clock, sync = (line.split()[1] for line in timeline.text(width=85).splitlines()[2:4])
    asleep = slice(clock.index("z"), clock.rindex("z"))
    assert set(clock[asleep]) == {"z"}
    assert set(sync[asleep][1:]) == {"!"}


def test_paused_slots_are_shown_as_one_range() -> None:
    """The slots of a paused job are a row of skipped ones."""
    scheduler = Scheduler()
    scheduler.add(FunctionJob("sync", every(hours=1), print))
    scheduler.pause("sync")
    timeline = simulate(scheduler, start=START, duration=30 * HOUR)
    assert timeline.text(width=41).splitlines()[2].split()[1] == "." + "-" * 29


@pytest.mark.parametrize(
    ("duration", "label"),
    [
        (timedelta(seconds=5), "03-01"),
        (timedelta(minutes=30), "00:05"),
        (timedelta(hours=9), "03:00"),
        (timedelta(days=5), "03-02"),
        (timedelta(days=60), "03-15"),
        (timedelta(days=365), "2026-07-01"),
        (timedelta(days=3653), "2031-01-01"),
    ],
)
def test_scale(duration: timedelta, label: str) -> None:
    """The scale's ticks are round times, as many as there is room for."""
    scale = simulate([], start=START, duration=duration).text(width=100).splitlines()[1]
    assert label in scale
    assert 1 <= scale.count("|") <= 12


def test_scale_is_local() -> None:
    """The scale shows the local time of the start's timezone, over a change of the clocks too."""
    start = datetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Berlin"))
    scale = simulate([], start=start, duration=6 * HOUR).text(width=90).splitlines()[1]
    assert scale.split() == ["|03-29", "|01:00", "|03:00", "|04:00", "|05:00", "|06:00"]


@pytest.mark.parametrize("width", [39, True, "80", 80.0])
def test_bad_width(width: Any) -> None:
    """A width that is no number of characters, or too small for any lane, is refused."""
    with pytest.raises(ConfigError, match=r"width=.*40 or more"):
        simulated().text(width=width)


def test_svg() -> None:
    """The SVG is well-formed, stands alone, and says in words what it shows."""
    timeline = story()
    text = timeline.svg()
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label", "").startswith("Timeline, 2026-03-27 00:00 to 2026-03-31 01:00 CEST, of sync, a-job")
    assert not re.search(r"(?<!\.)\b(href|src|script|import|url\()", text)
    assert text.count("http") == 1
    titles = {title.text or "" for title in root.iter(f"{SVG}title")}
    for said in (
        "process out of reach for 5:00:00, from 2026-03-28 06:00:00",
        "set forward by 2:00:00, at 2026-03-29 03:00:00",
        "set back by 1:00:00",
        "suspended for 4:00:00",
        "runs at 1.0001 seconds per second",
        "(no_address)",
        "(after 300 s)",
        "(endpoint: HTTP 500)",
        "a-job-whose-name-is-rather-long",
    ):
        assert any(said in title for title in titles), said


def test_parked_job_is_shown() -> None:
    """A job whose schedule fails is marked where it does, and the SVG says why; once it works again its runs are."""

    class Flaky:
        def __init__(self) -> None:
            self.asked = 0

        def next_after(self, instant: datetime) -> datetime | None:
            self.asked += 1
            if self.asked <= 8:
                raise OSError("gone <away>")
            return every(hours=1).next_after(instant)

        def latest_until(self, instant: datetime) -> datetime | None:
            return every(hours=1).latest_until(instant)

    def parked() -> Timeline:
        return simulate([FunctionJob("sync", Flaky(), print)], start=START, duration=78 * HOUR)

    timeline = parked()
    lines = timeline.text(width=90).splitlines()
    assert re.fullmatch(r"P+\.?[!o]o+", lines[2].split()[1])
    assert lines[3].startswith("P parked   ")
    titles = [title.text or "" for title in ET.fromstring(timeline.svg()).iter(f"{SVG}title")]
    assert any("parked (OSError: gone <away>)" in title for title in titles)
    assert timeline == parked()


def test_svg_is_escaped() -> None:
    """What a job says is text in the SVG and no markup."""
    hostile = "</title><script>alert(1)</script>\x00\x1b]]>&amp;\"'"
    timeline = simulated(behave=lambda _: Failed("job", hostile))
    text = timeline.svg()
    assert "<script" not in text
    titles = [title.text or "" for title in ET.fromstring(text).iter(f"{SVG}title")]
    assert any("</title><script>alert(1)</script>" in title for title in titles)


def test_svg_marks_differ_by_shape() -> None:
    """No two kinds of outcome are told apart by colour alone."""
    assert len({(mark.shape, mark.filled) for mark in MARKS.values()}) == len(MARKS)
    assert len({mark.char for mark in MARKS.values()}) == len(MARKS)


def test_svg_has_both_schemes() -> None:
    """The SVG has colours for light and for dark pages."""
    assert "prefers-color-scheme:dark" in simulated().svg()


def test_svg_stays_small() -> None:
    """A year of a job that runs every 15 minutes is drawn in less than 100 kB."""
    timeline = simulate([FunctionJob("sync", every(minutes=15), print)], start=START, duration=timedelta(days=60))
    assert len(timeline.svg()) < 100_000


def test_svg_without_jobs() -> None:
    """Without a job the SVG is a scale."""
    root = ET.fromstring(simulate([], start=START, duration=HOUR).svg())
    assert root.get("aria-label", "").endswith("of no job")


def test_repr() -> None:
    """The repr says when and which jobs, and leaves out the long rest."""
    text = repr(simulated(behave=lambda _: Busy()))
    assert text.startswith("Timeline(start=")
    assert text.endswith("jobs=('sync',))")
    assert len(text) < 250
