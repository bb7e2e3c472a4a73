"""What the status page shows of a document, whatever stands in it."""

from __future__ import annotations

import pytest

from tests.browser.documents import AT, DAY, HOUR, MINUTE, document, entry, iso, job, many_states
from tests.browser.reading import HOSTILE, Open, Serve, card, texts

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect


def test_says_first_whether_anything_is_broken(open_page: Open, serve: Serve) -> None:
    """The headline answers it, counts by state and links to what is broken follow, and the title says it in a tab."""
    page = open_page(serve(many_states()).url)
    expect(page.get_by_role("heading", level=1)).to_have_text("3 of 8 jobs are broken")
    counts = page.get_by_role("list", name="Jobs by state, worst first")
    assert texts(counts.get_by_role("listitem")) == [
        *("1 stuck", "1 failing", "1 busy too long", "1 paused", "4 OK"),
    ]
    worst = page.get_by_role("list", name="What is broken")
    expect(worst.get_by_role("listitem").first).to_contain_text("a run swallowed its cancellation")
    worst.get_by_role("link", name="invoice-mail").click()
    assert page.evaluate("document.querySelector(':target').textContent") == "invoice-mail"
    expect(page).to_have_title("✕ 3 of 8 jobs are broken · loopcron")


def test_says_what_is_wrong_with_the_scheduler_itself(open_page: Open, serve: Serve) -> None:
    """A scheduler or ledger that does not work is the headline, also where no job has a complaint yet."""
    broken = {"reachable": False, "why": "connection refused", "since": iso(AT - MINUTE), "failures": 4}
    ledger = document()["scheduler"]["ledger"] | broken
    cases = {
        "Nothing is broken": document(job("sync")),
        "The scheduler does not run": document(job("sync", "stopped"), state="stopped", why="nobody started it"),
        "The scheduler's loop is silent": document(job("sync", "overdue"), state="silent", why="it ticked 91 s ago"),
        "The scheduler is disabled here": document(job("sync", "stopped"), state="disabled", why="enabled=False"),
        "The scheduler is stopping": document(job("sync"), state="stopping", why="it was asked to"),
        "The ledger does not answer": document(job("sync"), ledger=ledger),
    }
    server = serve(document())
    page = open_page(server.url, clock=True)
    for headline, told in cases.items():
        server.document = told
        page.clock.run_for(2000)
        expect(page.get_by_role("heading", level=1)).to_have_text(headline)
        expect(page.locator("#because")).to_contain_text(told["scheduler"]["why"])
    expect(page.locator("#because")).to_have_text("The ledger does not answer: connection refused")
    expect(page.locator("#scheduler")).to_contain_text("does not answer · since 2026-03-28 14:19:07 UTC · 4 failures")


def test_tells_which_worker_answers_and_how_the_scheduler_is(open_page: Open, serve: Serve) -> None:
    """The strip tells state, worker of how many, uptime, ledger, lag of the loop, clock steps, observers in trouble."""
    observers = [
        {"name": "WebhookObserver", "disabled": False, "problem": "", "dropped": 12},
        {"name": "TeamObserver", "disabled": True, "problem": "ValueError: no", "dropped": 0},
    ]
    clock = {"steps": 2, "stepped_at": iso(AT - HOUR), "stepped_seconds": -3600.5}
    page = open_page(serve(document(observers=observers, clock=clock)).url, clock=True)
    expect(page.locator("#scheduler dt")).to_have_count(7)
    assert texts(page.locator("#scheduler > div")) == [
        "State Running since 2026-03-24 12:20:07 UTC",
        "Answered by app-1:4711 one of 3 workers; others: app-2:4712, app-3:4709",
        "Uptime 4 d 2 h since 2026-03-24 12:20:07 UTC",
        "Ledger PostgresLedger(db.internal/app) answers · shared by workers",
        "Loop wakes late by 2 ms worst 34 ms · last tick 0 s ago",
        "Clock 2 steps the last one by -3600.5 s, 1 h ago",
        "Observers 1 of 2 disabled WebhookObserver: 12 dropped; TeamObserver: disabled · ValueError: no",
    ]


def test_tells_of_each_job_what_a_glance_asks_for(open_page: Open, serve: Serve) -> None:
    """A job shows state, why, schedule in words and raw with its zone, next run three ways, last outcome and streak."""
    page = open_page(serve(many_states()).url, clock=True)
    failing = card(page, "invoice-mail")
    expect(failing).to_contain_text("Failing")
    expect(failing).to_contain_text("3 runs in a row failed; the last one: endpoint: HTTP 503 Service Unavailable")
    expect(failing).to_contain_text("since Sat 2026-03-28 14:00:00 (20 min 7 s)")
    expect(failing).to_contain_text("3 failures in a row")
    expect(failing).to_contain_text("endpoint: HTTP 503 Service Unavailable · 6.2 s · 3 ms late")
    nightly = card(page, "nightly-report")
    expect(nightly).to_contain_text("at 02:30 every day")
    expect(nightly.locator("code")).to_have_text('cron("30 2 * * *", zone="Europe/Berlin")')
    assert texts(nightly.locator("dd").first) == [
        "in 11 h 9 min Sun 2026-03-29 03:30 +02:00 CEST 2026-03-29 01:30:00 UTC",
    ]
    stuck = card(page, "groomer")
    expect(stuck).to_contain_text("Running for 15 min 7 s of 1 min · schedule · past its timeout")
    expect(stuck.get_by_role("progressbar")).to_have_attribute("value", "60000")
    expect(card(page, "sync").get_by_role("progressbar")).to_have_attribute("value", "42000")
    strip = card(page, "sync").get_by_role("list", name="Last 30 outcomes of sync, oldest first")
    items = strip.get_by_role("listitem")
    expect(items).to_have_count(30)
    expect(items.nth(7)).to_have_text(
        "Missed, Sat 2026-03-28 08:15:00 to Sat 2026-03-28 08:45:00, 3 slots, passed unserved, and is not caught up"
    )
    assert items.nth(7).locator("path").get_attribute("d") != items.nth(8).locator("path").get_attribute("d")


def test_answers_why_a_slot_did_not_run(open_page: Open, serve: Serve) -> None:
    """The history tells each slot in its own zone and in UTC, what became of it, why, and how far back it reaches."""
    page = open_page(serve(many_states()).url)
    nightly = card(page, "nightly-report")
    nightly.get_by_text("History and upcoming").click()
    rows = nightly.get_by_role("row")
    assert texts(rows.nth(0)) == ["Slot, Europe/Berlin UTC Outcome What happened Took Late Attempt Reason Worker"]
    assert texts(rows.nth(1)) == ["Sat 2026-03-28 02:30:00 01:30:00 Skipped another run of the job was alive this one"]
    assert texts(rows.nth(2)) == [
        "Fri 2026-03-27 02:30:00 01:30:00 Succeeded HTTP 200 1 min 11 s 3 ms 1 schedule this one"
    ]
    expect(nightly.get_by_role("table")).to_contain_text("back to Tue 2026-03-17 02:30:00; the log has older ones")
    upcoming = nightly.get_by_role("listitem").filter(has_text="+02:00 CEST")
    expect(upcoming).to_have_count(5)
    expect(upcoming.first).to_contain_text("this local time does not exist")
    expect(nightly).to_contain_text(
        "app-2:4712 · slot 2026-03-28 01:30:00 UTC · until 2026-03-28 01:35:00 UTC · fence 4117"
    )
    expect(nightly).to_contain_text("Succeeded 200 · by app-2:4712 · ended 2026-03-28 01:31:00 UTC")


def test_draws_the_day_before_and_the_day_after(open_page: Open, serve: Serve) -> None:
    """The timeline has a lane for each job, 24 of them unless asked for all, and its description names what failed."""
    jobs = [job(f"job-{number:02}", every=HOUR) for number in range(29)]
    failed = job("broken", "failing", every=DAY, history=[entry(AT - HOUR, "Failed", "job: no")], why="1 run failed")
    page = open_page(serve(document(failed, *jobs)).url, clock=True)
    picture = page.get_by_role("img", name="Timeline of 24 jobs, 24 hours back and ahead. Failures in: broken.")
    expect(picture).to_be_visible()
    expect(picture.locator("title").filter(has_text="Failed, Sat 2026-03-28 13:20:07, job: no")).to_have_count(1)
    page.get_by_role("button", name="Show all 30 jobs").click()
    expect(page.get_by_role("img", name="Timeline of 30 jobs")).to_be_visible()


def test_shows_hostile_text_as_text(open_page: Open, serve: Serve) -> None:
    """Markup in names, schedules, errors, workers and observers, and a zone that is none, stay what they are: text."""
    history = [entry(AT - HOUR, "Failed", HOSTILE, reason=HOSTILE, worker=HOSTILE), entry(AT, HOSTILE, HOSTILE)]
    bad = job(
        HOSTILE,
        "failing",
        why=HOSTILE,
        history=history,
        schedule={"text": HOSTILE, "words": HOSTILE, "zone": HOSTILE},
        upcoming=[{"slot": iso(AT), "local": HOSTILE, "marks": [HOSTILE]}],
        lease={"worker": HOSTILE, "slot": iso(AT), "fence": 1, "until": None, "ours": False},
        shared_outcome={"outcome": HOSTILE, "ended": iso(AT), "succeeded": None, "worker": HOSTILE},
    )
    observers = [{"name": HOSTILE, "disabled": True, "problem": HOSTILE, "dropped": 1}]
    told = document(
        bad,
        job("__proto__", "ok"),
        job("constructor"),
        worker=HOSTILE,
        workers=[HOSTILE] * 2,
        why=HOSTILE,
        observers=observers,
    )
    page = open_page(serve(told).url)
    expect(page.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible()
    page.get_by_role("article", name=HOSTILE).get_by_text("History and upcoming").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    expect(page.get_by_role("heading", name="__proto__")).to_be_visible()
    expect(page.locator("img, main script, footer script")).to_have_count(0)
    assert page.evaluate("window.pwned") is None


def test_shows_a_job_of_which_nothing_is_known(open_page: Open, serve: Serve) -> None:
    """Where nothing has happened and nothing will, that is what is said."""
    bare = job("once", "ended", next=None, upcoming=[], next_day=[], history=[], last=None, timeout_seconds=None)
    page = open_page(serve(document(bare, started=None, since=None, workers=["app-1:4711"])).url)
    once = card(page, "once")
    expect(once.locator(".cells dd").last).to_have_text("no success known")
    assert texts(once.locator(".cells dd")) == ["none", "none yet", "no success known"]
    once.get_by_text("History and upcoming").click()
    expect(once).to_contain_text("Upcoming: none")
    expect(once).to_contain_text("This worker knows of no outcome yet.")
    expect(once).to_contain_text("nobody holds it")
    expect(page.locator("#scheduler")).to_contain_text("the only worker seen")


def test_has_no_buttons_for_a_page_that_may_only_be_read(open_page: Open, serve: Serve) -> None:
    """Without actions no job has a button."""
    page = open_page(serve(document(job("sync"), actions=False)).url)
    expect(card(page, "sync")).to_be_visible()
    expect(page.get_by_role("button", name="Run now")).to_have_count(0)
