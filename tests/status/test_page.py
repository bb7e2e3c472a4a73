"""The page as one document: complete in itself, with nothing in it that its own policy would have to stop."""

from __future__ import annotations

import re
from importlib.resources import files

from loopcron.status._page import POLICY, page_html


def test_page_is_one_document_that_asks_for_nothing_from_elsewhere() -> None:
    """It holds one style sheet and one script, each with the nonce, and no address but those beside it."""
    page = page_html("n0nce")
    assert re.findall(r"<(?:style|script)\b[^>]*>", page) == ['<style nonce="n0nce">', '<script nonce="n0nce">']
    assert "{{" not in page
    assert sorted(set(re.findall(r'(?:href|src)="([^"]*)"', page))) == ["#jobs", "data:,", "metrics", "status.json"]
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert len(page.encode()) < 52_000


def test_page_cannot_be_broken_out_of_by_its_nonce() -> None:
    """A nonce is escaped, so that whoever chose a bad one has no effect rather than a hole."""
    assert '<script nonce="&quot;&gt;&lt;b&gt;">' in page_html('"><b>')


def test_script_makes_no_markup_from_text() -> None:
    """No way to turn text into markup, code or an inline style is used, and no end of the script stands in it."""
    script = files("loopcron.status").joinpath("page.js").read_text("utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b|new Function|</script|\bstyle\b"
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("//"))
    assert re.findall(forbidden, code) == []


def test_policy_lets_nothing_in_but_by_nonce() -> None:
    """Everything is forbidden but the script, the style, status.json and the icon that the script draws."""
    allowed = dict(part.strip().split(" ", 1) for part in POLICY.format(nonce="n").split(";"))
    assert allowed == {
        "default-src": "'none'",
        "script-src": "'nonce-n'",
        "style-src": "'nonce-n'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
