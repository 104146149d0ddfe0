"""Signing in, in a browser that the pages do not trust by where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import TOKEN
from tests.browser.looking import defects, walked
from tests.browser.views import VIEWS, Served, View, Visit

pytestmark = pytest.mark.slow


@pytest.fixture
def stranger(browser: Browser, guarded: Served) -> Iterator[Visit]:
    """Refusals are what this one comes for: nothing else may go wrong."""
    with View().visit(browser, guarded) as visit:
        yield visit
        assert [problem for problem in visit.problems if "403" not in problem] == []


def enter(visit: Visit, token: str) -> None:
    visit.page.get_by_label("Token").fill(token)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Sign in").click()


def test_who_is_refused_signs_in_and_out(stranger: Visit) -> None:
    page = stranger.page
    for path in ("/miners", "/", "/challenges", "/weights", "/rounds/c-1", "/miners/hotkey-3"):
        page.goto(stranger.served.url + path)
        assert page.locator("h1").inner_text() == "403 Forbidden"
        assert "hotkey" not in page.locator("main").inner_text()
    page.get_by_role("link", name="Sign in").click()
    enter(stranger, "not-the-token-0123456789")
    assert "not the token" in page.get_by_role("alert").inner_text()
    enter(stranger, TOKEN)
    assert stranger.path == "/"
    assert page.goto(f"{stranger.served.url}/miners").status == 200  # type: ignore[union-attr]
    cookies = page.context.cookies()
    assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Lax")]
    assert TOKEN not in str(cookies)
    page.get_by_role("button", name="Sign out").click()
    assert stranger.path == "/sign-in"
    assert page.context.cookies() == []
    assert page.goto(f"{stranger.served.url}/miners").status == 403  # type: ignore[union-attr]


def test_a_cookie_that_was_tampered_with_is_none(stranger: Visit) -> None:
    stranger.page.goto(f"{stranger.served.url}/sign-in")
    enter(stranger, TOKEN)
    (cookie,) = stranger.page.context.cookies()
    until, _, seal = cookie["value"].partition(".")
    changed = f"{int(until) + 1}.{seal}"
    stranger.page.context.add_cookies([{"name": cookie["name"], "value": changed, "url": stranger.served.url}])
    assert stranger.page.goto(f"{stranger.served.url}/").status == 403  # type: ignore[union-attr]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_pages_of_strangers_are_whole_and_legible(view: View, browser: Browser, guarded: Served) -> None:
    with view.visit(browser, guarded) as visit:
        for path in ("/sign-in", "/miners"):
            page = visit.to(path)
            assert defects(page) == []
            assert walked(page) == []
