"""Pages as they are used: sorted, filtered, turned, left and come back to, by pointer and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import Locator, Page

from tests.browser.crawling import BROWSER, Document, Site, id_of
from tests.browser.home import FAILED, HOSTILE_ID, WAITING, Home
from tests.browser.views import Served, Visit

pytestmark = pytest.mark.slow

NUMBER = re.compile(r"[-+\u2212]?[\d,]+(\.\d+)?")
WITHOUT_REMARKS = """(cells) => cells.map((cell) => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("small").forEach((one) => one.remove());
  return copy.textContent.trim();
})"""
DIRECTIONS = ("ascending", "descending")


def sorted_by(page: Page) -> tuple[str, str]:
    """The heading by which a table says that it is sorted, and how."""
    heading = page.locator("th[aria-sort=ascending], th[aria-sort=descending]")
    assert heading.count() == 1
    return heading.inner_text().strip(), str(heading.get_attribute("aria-sort"))


def rows(page: Page) -> list[str]:
    return page.locator("main tbody tr").all_inner_texts()


def column(page: Page, place: int) -> list[float] | None:
    """Its figures where all are of one unit, but for those that are missing; None where it has others."""
    cells = page.locator(f"main table:has(th[aria-sort]) tbody tr > :nth-child({place + 1})")
    said: list[str] = cells.evaluate_all(WITHOUT_REMARKS)
    figures = [(found[0], each[found.end() :]) for each in said if (found := NUMBER.match(each))]
    if len({unit for _, unit in figures}) != 1:
        return None
    return [float(figure.replace(",", "").replace("\u2212", "-")) for figure, _ in figures]


def test_every_sort_link_sorts_both_ways_and_says_so(visit: Visit) -> None:
    page = visit.to("/miners")
    headings = page.locator("th:has(a)").all_inner_texts()
    assert len(headings) >= 5
    for place, heading in enumerate(page.locator("main table:has(th a) th").all_inner_texts()):
        if heading not in headings:
            continue
        directions = []
        for _ in DIRECTIONS:
            page.locator("main table:has(th a) th").nth(place).locator("a").first.click()
            visit.drawn()
            said, direction = sorted_by(page)
            assert said == heading.strip()
            directions.append(direction)
            figures = column(page, place)
            if figures is not None:
                assert figures == sorted(figures, reverse=direction == "descending"), (heading, direction)
        assert sorted(directions) == sorted(DIRECTIONS), heading


def test_what_was_sorted_is_there_again_when_one_comes_back(visit: Visit) -> None:
    page = visit.to("/miners")
    first = rows(page)
    page.locator("th a").last.click()
    url, said = page.url, rows(page)
    page.locator("main tbody a").first.click()
    page.go_back()
    assert (page.url, rows(page)) == (url, said)
    page.go_back()
    assert rows(page) == first


def states(page: Page) -> list[str]:
    options: list[str] = page.locator("select[name=state] option").evaluate_all("all => all.map(one => one.value)")
    return [each for each in options if each]


def test_every_state_filters(visit: Visit) -> None:
    page = visit.to("/challenges")
    everything = rows(page)
    offered = states(page)
    assert {"received", "failed", "submitted"} <= set(offered)
    for state in offered:
        page.locator("select[name=state]").select_option(state)
        submit(page)
        assert f"state={state}" in page.url
        assert page.locator("select[name=state]").input_value() == state, "it says what is shown"
        assert all(state in row.lower() for row in rows(page))
        assert rows(page) != everything
        page.go_back()
    assert rows(page) == everything


def submit(page: Page) -> None:
    """A form with the filter, by its button."""
    with page.expect_navigation():
        page.locator("form:has(select[name=state]) button").first.click()


@pytest.mark.parametrize("said", [FAILED, HOSTILE_ID, "earlier-007", "Once more, 2"])
def test_a_challenge_is_found_by_its_id_and_by_its_words(visit: Visit, said: str) -> None:
    page = visit.to("/challenges")
    box = page.locator("input[name=q]")
    box.fill(said)
    with page.expect_navigation():
        box.press("Enter")
    if not page.url.startswith(f"{visit.served.url}/rounds/"):  # an id may lead to its round at once
        assert box.input_value() == said
        assert len(rows(page)) == 1
        page.locator("main tbody a[href*=rounds]").first.click()
    assert said in page.locator("main").inner_text()


def test_what_nobody_asked_is_not_found_and_that_is_said(visit: Visit) -> None:
    page = visit.to("/challenges?q=xylographer")
    assert rows(page) == []
    assert "no challenge" in page.locator("main").inner_text().lower()


def older_pages(served: Served) -> Iterator[Document]:
    """The list of challenges, turned from page to page to its end."""
    path: str | None = "/challenges"
    with httpx.Client(base_url=served.url, headers=BROWSER, trust_env=False) as http:
        while path is not None:
            page = Document()
            page.feed(http.get(path).raise_for_status().text)
            yield page
            further = (href for href in page.hrefs if "before=" in href)
            path = next((urljoin("/challenges", href) for href in further), None)


def listed(page: Document) -> set[str]:
    """The challenges that a page links to."""
    return {found for href in page.hrefs if (found := id_of(urljoin("/challenges", href))) is not None}


def test_turning_to_the_end_shows_every_challenge_once(served: Served, home: Home) -> None:
    pages = [listed(page) for page in older_pages(served)]
    assert len(pages) >= 3
    everything = set[str]().union(*pages)
    assert everything >= home.ids
    assert sum(map(len, pages)) == len(everything), "none is on two pages"


def test_one_turns_and_comes_back_in_a_browser(visit: Visit) -> None:
    page = visit.to("/challenges")
    first = rows(page)
    page.locator("main a[href*='before=']").first.click()
    assert rows(page)
    assert set(rows(page)) & set(first) == set()
    page.go_back()
    assert rows(page) == first


def test_enter_follows_and_opens(visit: Visit, site: Site) -> None:
    page = visit.to("/")
    page.keyboard.press("Tab")
    assert focused(page).get_attribute("class") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.keyboard.press("Tab")
    visit.until("() => document.activeElement.closest('main') !== null")
    page.locator("header nav a", has_text="Miners").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert visit.path == "/miners"
    for path in [each.path for each in site.pages() if "<details" in each.text][:3]:
        for summary in visit.to(path).locator("details:not([open]) > summary:visible").element_handles()[:1]:
            summary.focus()
            page.keyboard.press("Enter")
            assert summary.evaluate("(one) => one.parentElement.open")


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_what_is_wrongly_asked_is_told_and_never_an_error_of_ours(served: Served) -> None:
    wrong = (
        *(
            "/challenges?state=lost",
            "/challenges?before=yesterday",
            "/challenges?before=%00",
            "/challenges?q=" + "x" * 5000,
        ),
        *("/miners?sort=luck", "/miners?order=sideways", "/miners?epoch=none", "/miners/nobody", "/weights?epoch=-1"),
        *("/rounds/nothing", "/rounds/", "/rounds/%00", "/weights?epoch=99999999999999999999", f"/rounds/{WAITING}/x"),
    )
    with httpx.Client(base_url=served.url, headers=BROWSER, trust_env=False) as http:
        answers = {path: http.get(path) for path in wrong}
    assert {path: each.status_code for path, each in answers.items() if each.status_code >= 500} == {}
    assert [path for path, each in answers.items() if each.status_code >= 400 and "<h1>" not in each.text] == []
