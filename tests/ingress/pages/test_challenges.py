"""The list of challenges: pages, filters and searches by plain links, and clear words where there is nothing."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.schema import challenges
from tests.ingress.conftest import AWAY, HERE, Serve

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BROWSER = {"accept": "text/html"}


@pytest.fixture
def inbox(settings: Settings) -> Inbox:
    return Inbox.open(settings.inbox_url)


def accept(inbox: Inbox, count: int, prefix: str = "c", at: datetime = NOON, prompt: str = "Why?") -> None:
    for number in range(count):
        accepted = ChallengeId(f"{prefix}-{number:03}")
        inbox.accept(accepted, {"id": accepted, "prompt": prompt}, at + timedelta(seconds=number))


def change(inbox: Inbox, challenge_id: str, **values: Any) -> None:
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).where(challenges.c.id == challenge_id).values(values))


def ids(page: str) -> list[str]:
    return re.findall(r'/rounds/([^"]+)"', page)


def link(page: str, said: str) -> str:
    found = re.search(rf'<a [^>]*href="([^"]*)"[^>]*>{said}</a>', page)
    assert found is not None, said
    return html.unescape(found[1]).removeprefix(".")


def test_every_challenge_is_on_one_page_of_them(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 120)
    client = serve(HERE)
    page = client.get("/challenges").text
    assert "Newest" not in page
    seen = ids(page)
    for _ in range(2):
        page = client.get(link(page, "Older")).text
        seen += ids(page)
    assert seen == [f"c-{number:03}" for number in reversed(range(120))]
    assert "Older" not in page
    assert ids(client.get(link(page, "Newest")).text) == seen[:50]


def test_a_row_says_how_far_a_challenge_has_come_and_where_else_it_is_shown(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 3)
    outbox = Outbox(inbox.engine)
    outbox.keep_result(ChallengeId("c-002"), b"{}", NOON + timedelta(seconds=8))
    outbox.park(outbox.lease(NOON + timedelta(hours=1), 1)[0], "HTTP 422")
    change(inbox, "c-002", asked=7, answered=6, run_id="run-1")
    change(inbox, "c-000", state=ChallengeState.FAILED, failure="the embedder <b>was</b> away")
    page = serve(HERE, dagster_url="http://127.0.0.1:3999").get("/challenges").text
    scored, received, failed = re.findall(r"<tr>\s*<td.*?</tr>", page, re.DOTALL)
    for said in ("6 of 7", "6.0 s", ">refused<", 'title="HTTP 422"', "/runs/run-1", "partition=c-002", ">scored<"):
        assert said in scored, said
    assert "waits for its run" in received
    assert "/runs/" not in received
    assert "the embedder &lt;b&gt;was&lt;/b&gt; away" in failed


def test_filters_hold_on_the_pages_that_follow(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 60, "old", NOON - timedelta(days=1))
    accept(inbox, 60, "new")
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).where(challenges.c.id != "new-007").values(state=ChallengeState.FAILED))
    client = serve(HERE)
    page = client.get("/challenges?state=failed&day=2026-01-02&q=").text
    assert '<option value="failed" selected>' in page
    assert 'value="2026-01-02"' in page
    further = client.get(link(page, "Older")).text
    assert [*ids(page), *ids(further)] == [f"new-{number:03}" for number in reversed(range(60)) if number != 7]
    assert ids(client.get("/challenges?state=received").text) == ["new-007"]


def test_an_id_is_found_by_its_beginning_however_old_it_is(
    inbox: Inbox, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(inbox, 1, "abc", NOON - timedelta(days=90))
    accept(inbox, 10)
    monkeypatch.setattr("loosh_pipeline.store.listing.LOOKED_AT", 5)
    client = serve(HERE)
    page = client.get("/challenges?q=abc-").text
    assert ids(page) == ["abc-000"]
    assert "Ids that begin with <code>abc-</code>" in page
    assert ids(client.get("/challenges?q=abc-&state=scored").text) == []
    assert ids(client.get("/challenges?q=abc-&day=2026-01-02").text) == []


def test_words_are_looked_for_among_the_newest_and_further_back(
    inbox: Inbox, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(inbox, 1, "apple", prompt="Where do red APPLES grow?")
    accept(inbox, 4, "pear", NOON + timedelta(hours=1))
    monkeypatch.setattr("loosh_pipeline.store.listing.LOOKED_AT", 3)
    client = serve(HERE)
    page = client.get("/challenges?q=apples+red").text
    assert ids(page) == []
    assert "No challenge fits among those that were looked through" in page
    assert "3 challenges were looked through for words" in page
    further = client.get(link(page, "Search further back")).text
    assert ids(further) == ["apple-000"]
    assert "Search further back" not in further


def test_one_that_is_found_by_both_stands_there_once(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 1, "sky", prompt="Why is the sky blue?")
    accept(inbox, 1, "other", prompt="Is the sky high?")
    assert ids(serve(HERE).get("/challenges?q=sky").text) == ["sky-000", "other-000"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=lost", "state= is one of received, dispatched, collected, scored, submitted, failed, or empty"),
        ("day=yesterday", "day= is a date in UTC such as 2026-01-31"),
        ("before=c-1", "before= is TIME,ID"),
        ("before=2026-01-02T12:00:00,c-1", "before= is TIME,ID"),
        ("before=2026-01-02T12:00:00%2B00:00", "before= is TIME,ID"),
        ("q=" + "x" * 201, "q= is at most 200 characters; this has 201"),
        ("q=" + "+".join("abcdefghijk"), "q= holds at most 10 words; this has 11"),
        ("state=%3Cscript%3E", "there is no state"),
        ("day=9999-12-31", "day= is a date"),
    ],
)
def test_what_cannot_be_asked_for_is_said(serve: Serve, query: str, said: str) -> None:
    client = serve(HERE)
    answer = client.get(f"/challenges?{query}")
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True)
    page = client.get(f"/challenges?{query}", headers=BROWSER)
    assert (page.status_code, "<script>" in page.text) == (422, False)
    assert "422 Unprocessable" in page.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "No challenge was accepted yet."),
        ("?state=failed", "No challenge fits."),
        ("?q=%00%20", "No challenge was accepted yet."),
        ("?before=0001-01-01T00:00:00%2B00:00,", "There is nothing further back."),
        ("?q=%F0%9F%98%80", "No challenge fits."),
    ],
)
def test_where_there_is_nothing_the_page_says_so(serve: Serve, query: str, said: str) -> None:
    answer = serve(HERE).get(f"/challenges{query}")
    assert (answer.status_code, said in answer.text) == (200, True)


def test_what_is_searched_for_is_only_text(serve: Serve) -> None:
    page = serve(HERE).get("/challenges", params={"q": '"><script>x</script>'}).text
    assert "<script>x" not in page
    assert "&#34;&gt;&lt;script&gt;" in page


def test_strangers_read_no_failures(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 1)
    change(inbox, "c-000", state=ChallengeState.FAILED, failure="cannot write /home/operator")
    assert "/home/operator" in serve(HERE, pages_public=True).get("/challenges").text
    assert "/home/operator" not in serve(AWAY, pages_public=True).get("/challenges").text


def test_where_the_public_may_look_on_no_canary_is_listed_found_or_linked(inbox: Inbox, serve: Serve) -> None:
    accept(inbox, 52)
    with inbox.engine.begin() as connection:
        mark(connection, ChallengeId("c-002"), CanaryMark([], "q"), NOON)

    def pages(client: TestClient) -> str:
        first = client.get("/challenges").text
        further = client.get(link(first, "Older")).text if "Older" in first else ""
        return first + further + client.get("/challenges?q=c-002").text.replace('value="c-002"', "")

    assert "/rounds/c-002" in pages(serve(HERE))
    public = pages(serve(HERE, pages_public=True))
    assert "c-002" not in public.replace("<code>c-002</code>", "")
    assert "/rounds/c-000" in public
