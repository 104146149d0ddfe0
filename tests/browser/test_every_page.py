"""What holds for each page that links lead to, wide and narrow, light and dark."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import SECRET
from tests.browser.crawling import Site, id_of, kind_of
from tests.browser.home import CANARY, DISPATCHED, FAILED, HOSTILE_ID, LONG_LINE, Home
from tests.browser.looking import defects, walked
from tests.browser.views import VIEWS, Served, View, Visit

pytestmark = pytest.mark.slow

OF_DAGSTER = re.compile(r"/?|/(assets|runs|asset-groups|jobs|locations|automation|deployment|overview)(/.*)?")
MOST_KB = 200
MINER = "hotkey-3"


def test_links_lead_to_pages_and_to_dagster_alone(site: Site, served: Served) -> None:
    assert {each.path: each.origin for each in site.found.values() if each.status != 200} == {}
    elsewhere = {url: origin for url, origin in site.others.items() if not url.startswith(f"{served.dagster}/")}
    assert elsewhere.keys() <= {served.dagster}
    assert [url for url in site.others if not OF_DAGSTER.fullmatch(urlsplit(url).path)] == []
    assert any(url.startswith(f"{served.dagster}/assets/") for url in site.others)


def test_every_kind_of_page_is_reached(site: Site, home: Home) -> None:
    kinds = {kind_of(each.path).partition("?")[0] for each in site.pages()}
    assert kinds >= {"", "challenges", "rounds/…", "miners", "miners/…", "weights"}
    assert {CANARY, FAILED, DISPATCHED, HOSTILE_ID} <= {id_of(each.path) for each in site.pages()}
    assert any(each.path.startswith(f"/miners/{MINER}") for each in site.pages())


def test_markup_holds_nothing_inline_and_is_small(site: Site) -> None:
    assert {each.path: each.document.inline for each in site.pages() if each.document.inline} == {}
    large = {each.path: len(each.text.encode()) // 1000 for each in site.pages()}
    assert {path: kb for path, kb in large.items() if kb > MOST_KB} == {}
    assert [each.path for each in site.pages() if LONG_LINE in each.text] == [], "a browser hangs over such a line"
    assert [
        each.path for each in site.pages() if "script-src 'self'" not in each.headers["content-security-policy"]
    ] == []
    assert [each.path for each in site.pages() if each.document.headings != 1 or not each.document.title.strip()] == []
    assert {each.path: n for each in site.pages() for n, count in each.document.ids.items() if count > 1} == {}


def test_titles_tell_pages_apart(site: Site) -> None:
    """By them a tab, a bookmark and a screen reader know a page."""
    first = {kind_of(each.path).partition("?")[0]: each.document.title for each in site.pages()}
    assert len(set(first.values())) == len(first), first


def test_no_secret_is_in_a_page_a_script_or_a_header(site: Site) -> None:
    assert [each.path for each in site.found.values() if SECRET in f"{each.text} {dict(each.headers)}"] == []


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_pages_are_whole_and_legible(view: View, browser: Browser, served: Served, samples: list[str]) -> None:
    found: dict[str, list[str]] = {}
    with view.visit(browser, served) as visit:
        for path in samples:
            page = visit.to(path)
            if problems := defects(page):
                found[path] = problems
        assert found == {}, json.dumps(found, indent=1)
        visit.went_well()


def test_the_keyboard_alone_reaches_everything(visit: Visit, site: Site) -> None:
    found: dict[str, list[str]] = {}
    for path in site.samples(1):
        page = visit.to(path)
        if problems := walked(page):
            found[path] = problems
    assert found == {}, json.dumps(found, indent=1)


def test_without_script_pages_show_the_same(browser: Browser, served: Served, samples: list[str]) -> None:
    """As many figures, rows and links as with it; only charts are missing."""
    what = ("h1", "h2", "h3", "dt", "dd", "th", "td", "li", "main a", "main p", "main form", "main details")
    found = {}
    for script in (True, False):
        with View(script=script).visit(browser, served) as visit:
            for path in samples:
                visit.page.goto(served.url + path, wait_until="load")
                outside = "not(.vega *, [data-load] *)"
                found[path, script] = {name: visit.page.locator(f"{name}:{outside}").count() for name in what}
                assert visit.page.locator("main").inner_text().strip() != ""
            visit.went_well()
    assert {path: found[path, False] for path in samples} == {path: found[path, True] for path in samples}
