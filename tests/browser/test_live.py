"""What a page does by itself: charts, parts that come later, and what is fetched anew while it is seen."""

from __future__ import annotations

import time
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser

from tests.browser.crawling import Site, kind_of
from tests.browser.home import HOSTILE_ID, MARKUP, PWNED
from tests.browser.views import VIEWS, Served, View, Visit

pytestmark = pytest.mark.slow

MARKS = ".vega svg g[class*=role-mark] path, .vega svg g[class*=role-mark] rect, .vega svg g[class*=role-mark] line"
SHOWN = "() => document.querySelector('#vg-tooltip-element')?.classList.contains('visible') ?? false"
WITHIN_S, SHOWN_WITHIN_S = 60.0, 0.5


def charted(site: Site) -> list[str]:
    """A page of each kind with a chart."""
    kinds = {kind_of(each.path).partition("?")[0]: each.path for each in site.pages() if 'class="vega' in each.text}
    assert kinds.keys() >= {"rounds/…", "miners/…", "weights"}
    return list(kinds.values())


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_charts_are_drawn_and_tell_what_the_pointer_is_on(
    view: View, browser: Browser, served: Served, site: Site
) -> None:
    with view.visit(browser, served) as visit:
        for path in charted(site):
            page = visit.to(path)
            charts = page.locator(".vega:visible")
            assert charts.count() > 0
            for place in range(charts.count()):
                chart = charts.nth(place)
                assert chart.locator(MARKS.replace(".vega ", "")).count() > 0, f"{path}: chart {place} has no marks"
                assert chart.get_attribute("aria-label") or chart.get_attribute("aria-labelledby"), f"{path}: {place}"
            assert told(visit), f"{path}: no mark of any chart has a tooltip"
        visit.went_well()


def told(visit: Visit) -> bool:
    """Whether resting on a mark shows something. A machine may be busy, so each is rested on again and again."""
    until_s = time.monotonic() + WITHIN_S
    while not told_at_once(visit):
        if time.monotonic() > until_s:
            return False
    return True


def told_at_once(visit: Visit) -> bool:
    """A mark may be thin, or beneath others: the first few are tried."""
    marks = visit.page.locator(MARKS)
    for place in range(min(12, marks.count())):
        box = marks.nth(place).bounding_box()
        if box is None or not box["width"] or not box["height"]:
            continue
        marks.nth(place).scroll_into_view_if_needed()
        box = marks.nth(place).bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        if shown(visit):
            assert visit.page.locator("#vg-tooltip-element").inner_text().strip() != ""
            return True
    return False


def shown(visit: Visit) -> bool:
    until_s = time.monotonic() + SHOWN_WITHIN_S
    while not visit.page.evaluate(SHOWN):
        if time.monotonic() > until_s:
            return False
        visit.page.wait_for_timeout(20)
    return True


def test_nothing_that_a_stranger_wrote_runs_and_all_of_it_is_text(visit: Visit, site: Site) -> None:
    hostile = [each.path for each in site.pages() if "window.pwned" in each.text]
    assert any(path.startswith("/rounds/") for path in hostile)
    for path in hostile[:25]:
        page = visit.to(path)
        page.mouse.move(300, 300)
        assert page.evaluate("() => window.pwned") is None, path
        assert (
            page.locator(
                "[href^='javascript:' i], [src^='javascript:' i], main script:not([type='application/json'])"
            ).count()
            == 0
        )
        assert page.locator("main [onclick], main [onerror], main [onload], main [onmouseover]").count() == 0
    page = visit.to(next(path for path in hostile if path.startswith("/rounds/x")))
    said = page.locator("main").inner_text()
    assert f"<script>{PWNED}</script>" in said, "it is shown as it was written"
    assert HOSTILE_ID in said
    assert MARKUP[:60] in said
    assert "{{ 7 * 7 }}" in said


def test_a_receipt_comes_by_itself_and_by_its_link(visit: Visit, site: Site) -> None:
    page = visit.to("/miners/hotkey-3")
    came = page.locator("#receipt").inner_text()
    assert "hotkey-5" in came, "with whom it shares its pay"
    (path,) = (each.path for each in site.pages() if each.path.partition("?")[0].endswith("/receipt"))
    assert site.found[path].status == 200


def test_a_challenge_that_comes_meanwhile_shows_without_reloading(visit: Visit) -> None:
    page = visit.to("/")
    page.evaluate("() => { window.here = true }")
    new = f"just-now-{uuid4().hex[:8]}"
    assert new not in page.locator("main").inner_text()
    body = {"id": new, "prompt": "What comes while somebody looks?"}
    httpx.post(f"{visit.served.url}/challenges", json=body, trust_env=False).raise_for_status()
    until_s = time.monotonic() + WITHIN_S
    while new not in page.content():
        assert time.monotonic() < until_s
        page.wait_for_timeout(200)
    assert page.evaluate("() => window.here"), "it is the same page"
