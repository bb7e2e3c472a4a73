"""How the status page lives: asks again, keeps a reader's place, says when nobody answers, does what it is told."""

from __future__ import annotations

import pytest

from tests.browser.documents import AT, MINUTE, document, entry, job
from tests.browser.reading import Open, Serve, card, said

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

# Headless tabs are never hidden, so it is the page that is told so; what it makes of it is its own.
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {configurable: true, value: hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_an_update_keeps_the_place_of_whoever_reads(open_page: Open, serve: Serve) -> None:
    """A job that breaks or recovers moves, is announced, and keeps the focus, its open details and its nodes."""
    server = serve(document(job("alpha"), job("beta"), job("gamma")))
    page = open_page(server.url, clock=True)
    gamma = card(page, "gamma")
    gamma.get_by_text("History and upcoming").click()
    gamma.get_by_role("region", name="History of gamma").focus()
    page.evaluate("window.row = document.activeElement.querySelector('tbody tr')")
    expect(said(page)).to_have_text("")
    history = [*job("gamma")["history"][1:], entry(AT, "Failed", "job: no", failures=1)]
    broken = job("gamma", "failing", why="1 run failed", history=history, consecutive_failures=1)
    server.document = document(job("alpha"), job("beta", "paused"), broken, job("delta"))
    page.clock.run_for(2000)
    expect(said(page)).to_have_text("gamma is Failing: 1 run failed. beta is Paused.")
    expect(page.get_by_role("heading", level=3)).to_have_text(["gamma", "beta", "alpha", "delta"])
    expect(gamma.get_by_role("region", name="History of gamma")).to_be_focused()
    expect(gamma.get_by_role("row").nth(1)).to_contain_text("job: no")
    assert page.evaluate("window.row === document.activeElement.querySelectorAll('tbody tr')[1]")
    server.document = document(job("alpha"), job("gamma"))
    page.clock.run_for(2000)
    expect(page.get_by_role("heading", level=3)).to_have_text(["alpha", "gamma"])
    expect(gamma.get_by_role("region", name="History of gamma")).to_be_focused()


def test_an_update_moves_no_button_that_the_pointer_is_on(open_page: Open, serve: Serve) -> None:
    """While the pointer is on a job's button the jobs keep their order, and take the new one when it has gone."""
    server = serve(document(job("alpha"), job("beta")))
    page = open_page(server.url, clock=True)
    page.get_by_role("button", name="Run now alpha").hover()
    server.document = document(job("alpha"), job("beta", "failing", why="1 run failed"))
    page.clock.run_for(2000)
    expect(card(page, "beta")).to_contain_text("1 run failed")
    expect(page.get_by_role("heading", level=3)).to_have_text(["alpha", "beta"])
    page.mouse.move(1, 1)
    page.clock.run_for(2000)
    expect(page.get_by_role("heading", level=3)).to_have_text(["beta", "alpha"])


def test_time_goes_on_between_two_answers(open_page: Open, serve: Serve) -> None:
    """Countdowns follow the server's clock, not the browser's, and fall from second to second."""
    page = open_page(serve(document(job("sync"))).url, clock=True)
    count = card(page, "sync").locator("dd").first
    expect(count).to_contain_text("in 14 min 53 s")
    page.clock.run_for(1000)
    expect(count).to_contain_text("in 14 min 52 s")


def test_asks_nothing_while_it_is_hidden(open_page: Open, serve: Serve) -> None:
    """A hidden tab polls no more, however long; once it is seen again it asks at once."""
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    expect(page.locator("#live-text")).to_have_text("Live")
    page.evaluate(HIDE, True)
    before = len(server.polls)
    page.clock.run_for(60_000)
    page.evaluate("fetch('status.json?q=proof').then(() => 0)")  # comes after all that the page might have asked for
    assert [query.get("q") for query in server.polls[before:]] == ["proof"]
    server.document = document(job("sync"), job("later"))
    page.evaluate(HIDE, False)
    expect(card(page, "later")).to_be_visible()
    expect(page.locator("#notice")).to_be_hidden()


def test_says_when_what_it_shows_is_old(open_page: Open, serve: Serve) -> None:
    """An answer that is none is told with the age of what is shown, announced once, and withdrawn when all is well."""
    signed_out = "The server no longer lets you in. Reload the page to sign in again."
    notices = {
        503: "The server answered HTTP 503 instead of its status.",
        403: signed_out,
        302: signed_out,
        0: "The server does not answer.",
    }
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    expect(card(page, "sync")).to_be_visible()
    for status, notice in notices.items():
        server.status = status
        page.clock.run_for(2000)
        expect(page.locator("#notice")).to_have_text(f"{notice} What you see is from 2026-03-28 14:20:07 UTC, 2 s ago.")
        expect(page.locator("#live-text")).to_have_text("No answer")
        expect(said(page)).to_have_text(notice)
        server.status = 200
        page.clock.run_for(2000)
        expect(page.locator("#notice")).to_be_hidden()
        expect(said(page)).to_have_text("The server answers again.")


def test_says_when_the_server_takes_too_long(open_page: Open, serve: Serve) -> None:
    """A server that accepts and then says nothing, as one whose loop is blocked, is told as silent after 7 s."""
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    expect(card(page, "sync")).to_be_visible()
    server.may_answer.clear()
    page.clock.run_for(8000)
    expect(page.locator("#notice")).to_contain_text(
        "The server does not answer. What you see is from 2026-03-28 14:20:07"
    )
    server.may_answer.set()
    expect(page.locator("#notice")).to_be_hidden()


def test_whoever_reads_can_stop_the_updates(open_page: Open, serve: Serve) -> None:
    """With the updates paused nothing moves and nothing is asked; going on shows what is new at once."""
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    expect(card(page, "sync")).to_be_visible()
    pause = page.get_by_role("button", name="Pause updates")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#live-text")).to_have_text("Updates paused")
    server.document = document(job("sync", "paused"))
    before = len(server.polls)
    page.clock.run_for(30_000)
    assert len(server.polls) == before
    pause.click()
    expect(card(page, "sync")).to_contain_text("Paused")


def test_shows_many_jobs_in_pages(open_page: Open, serve: Serve) -> None:
    """What is more than a page holds is reached with two buttons, which say where one is."""
    server = serve(document(*(job(f"job-{number:02}", history=[]) for number in range(25))))
    page = open_page(server.url + "?limit=10")
    pages = page.get_by_role("navigation", name="Pages of jobs")
    expect(pages).to_contain_text("1 to 10 of 25 jobs")
    previous, following = pages.get_by_role("button", name="Previous"), pages.get_by_role("button", name="Next")
    expect(previous).to_have_attribute("aria-disabled", "true")
    following.click()
    following.click()
    expect(pages).to_contain_text("21 to 25 of 25 jobs")
    expect(page.get_by_role("heading", level=3)).to_have_text([f"job-{number}" for number in range(20, 25)])
    expect(following).to_have_attribute("aria-disabled", "true")
    expect(said(page)).to_have_text("25 jobs, 21 to 25 of 25 jobs")
    previous.click()
    expect(pages).to_contain_text("11 to 20 of 25 jobs")
    page.get_by_role("searchbox", name="Filter by name").fill("job-1")
    expect(page.get_by_role("heading", level=3)).to_have_count(10)
    expect(pages).to_be_hidden()


def test_filters_by_name(open_page: Open, serve: Serve) -> None:
    """The filter asks the server, says how many it found, and stands in the address so that it can be passed on."""
    server = serve(document(job("sync"), job("sync-users"), job("prune")))
    page = open_page(server.url)
    box = page.get_by_role("searchbox", name="Filter by name")
    box.fill("sync")
    expect(page.get_by_role("heading", level=3)).to_have_text(["sync", "sync-users"])
    expect(said(page)).to_have_text("2 jobs, 1 to 2 of 2 jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is broken")
    page.reload()
    expect(box).to_have_value("sync")
    expect(page.get_by_role("heading", level=3)).to_have_text(["sync", "sync-users"])
    box.fill("nobody")
    expect(page.locator("#none")).to_have_text("No job's name holds “nobody”.")
    box.fill("")
    expect(page.get_by_role("heading", level=3)).to_have_count(3)
    assert page.url == server.url


def test_an_action_is_asked_for_once_and_told(open_page: Open, serve: Serve) -> None:
    """While an action is under way the job's buttons are disabled and keep the focus; what came of it is said aloud."""
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    run = page.get_by_role("button", name="Run now sync")
    server.may_act.clear()
    run.focus()
    page.keyboard.press("Enter")
    expect(run).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("button", name="Pause sync")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    server.may_act.set()
    expect(said(page)).to_have_text("sync: Run now: asked for")
    expect(card(page, "sync")).to_contain_text("Run now: asked for")
    expect(run).to_have_attribute("aria-disabled", "false")
    expect(run).to_be_focused()
    assert server.actions == [("/status/jobs/sync/run", "1")]


def test_an_action_that_is_refused_says_why(open_page: Open, serve: Serve) -> None:
    """A refusal is told with the server's reason, and one without a reason with its status."""
    server = serve(document(job("sync")))
    page = open_page(server.url, clock=True)
    for refusal, told in (((409, "it is stopping"), "it is stopping"), ((403, ""), "HTTP 403")):
        server.refusal = refusal
        page.get_by_role("button", name="Skip next sync").click()
        expect(said(page)).to_have_text(f"sync: Skip next was refused: {told}")


def test_offers_only_what_can_be_done(open_page: Open, serve: Serve) -> None:
    """A paused job can be resumed, and its next slot not be skipped; nor can one that will be skipped already."""
    following = job("b")["next"] | {"skipped": True}
    page = open_page(serve(document(job("a", "paused"), job("b", next=following), job("c", every=MINUTE))).url)
    expect(page.get_by_role("button", name="Resume a")).to_be_visible()
    for name, disabled in (("a", "true"), ("b", "true"), ("c", "false")):
        expect(page.get_by_role("button", name=f"Skip next {name}")).to_have_attribute("aria-disabled", disabled)
    expect(card(page, "b")).to_contain_text("will be skipped, as asked")
