"""The overview says whether all is well, and else what is wrong and what to do; to strangers, less."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingress.outlook import Outlook, View
from ingress.pages.concerns import TEXT_ROOM
from loosh_pipeline.alerting.conditions import Alert, Seen, Severity, Source, standing_alerts
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.inbox import Inbox, advance_to_scored
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.supervisor import Death
from tests.builders import response
from tests.ingress.conftest import AWAY, HERE, Serve
from tests.ingress.pages.conftest import submitted

NOW = datetime.now(UTC)
HOSTILE = "<script>alert('no')</script>"
ALERT = Alert("chain:no_permit", Source.CHAIN, Severity.WARNING, f"no permit {HOSTILE}", "stake more")
CHAIN: dict[str, Any] = {
    "block": 4_512_345,
    "registered": True,
    "mode": "normal",
    "activity_cutoff_blocks": 5000,
    "blocks_since_update": 120,
    "block_s": 12.0,
    "reached": True,
    "due_block": 4_512_585,
    "hotkey": "5Own",
    "netuid": 78,
    "not_yet": "the interval has not passed",
}
PROCESS = {"name": "worker", "pid": 4711, "port": 8123, "state": "runs", "at": "10.9.8.7:8123"}
HOST = {"host": "inner-host", "queue": "dagster", "processes": 4, "busy": 1, "silent_s": 0.4, "heard": True}


def seen(**fields: Any) -> View:
    """Just now, with a chain that was seen a minute ago."""
    now = datetime.now(UTC)
    in_s = {"seen_at": -60.0, "due_at": 2820.9, "cutoff_at": 58_500.9}
    chain = CHAIN | {name: (now + timedelta(seconds=each)).isoformat() for name, each in in_s.items()}
    about: dict[str, Any] = {"alerts": (), "chain": chain, "processes": (PROCESS,), "broker": None, "hosts": ()}
    return View(at=now, **{**about, "blind": {}, **fields})


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is to be seen around the ingress."""
    return lambda view: monkeypatch.setattr(Outlook, "__call__", lambda _: view)


@pytest.fixture
def inbox(settings: Settings) -> Inbox:
    return Inbox.open(settings.inbox_url)


def accept(inbox: Inbox, challenge_id: str = "c-1", at: datetime = NOW, **request: Any) -> ChallengeId:
    accepted = ChallengeId(challenge_id)
    inbox.accept(accepted, {"id": challenge_id, "prompt": "Why is the sky blue?", **request}, at)
    return accepted


def text_of(page: str) -> str:
    """What is read of it."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_a_new_validator_says_what_is_missing_and_what_to_do(serve: Serve) -> None:
    page = text_of(serve(HERE).get("/").text)
    assert "the chain was never seen check SUBTENSOR_ADDRESS" in page
    assert "do not run on this machine loosh up starts what does not run" in page
    assert "No challenge was accepted yet. loosh challenges send" in page
    assert "last weights none yet" in page


def test_all_is_well(serve: Serve, see: Any, inbox: Inbox) -> None:
    see(seen())
    now = datetime.now(UTC)
    done = accept(inbox, at=now - timedelta(minutes=3))
    inbox.collected(done, [response("hotkey-1"), response("hotkey-2")], now)
    with inbox.engine.begin() as connection:
        advance_to_scored(connection, done, now - timedelta(minutes=3) + timedelta(seconds=4.2))
    accept(inbox, "c-2", at=now - timedelta(seconds=5))
    client = serve(HERE)
    html = client.get("/").text
    page = text_of(html)
    assert "All is well: challenges are taken. There is nothing to do." in page
    assert re.search(r"mode normal about 12\d blocks since the last weights; block 4,512,345 was seen \d min", page)
    assert re.search(r"to the activity cutoff about 4,87\d blocks 16 h 1[345] min at 12 s a block", page)
    assert re.search(r"next weights in 4\d min \d+ s at block 4512585, in 4\S+ minutes at 12 s a block, about", page)
    assert "challenges in the last hour 2 2 in 24 hours" in page
    assert "from acceptance to scores 4.2 s median of 1 scored in the last hour; 95 % within 4.2 s" in page
    assert re.search(r"backlog: waiting for scores 1 the oldest came \d+ s ago", page)
    assert "results still to be delivered 0 none refused" in page
    assert 'href="./rounds/c-1"' in html
    assert "2 of 2" in page
    assert len(html.encode()) < 100_000


def test_weights_that_are_due_are_told_as_such_and_late_ones_stand_out(serve: Serve, see: Any) -> None:
    client = serve(HERE)
    for ago_s, is_late in ((65, False), (1000, True)):
        due_at = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()
        see(seen(chain=CHAIN | {"due_at": due_at}))
        html = client.get("/").text
        assert re.search(r"next weights due since 1\d? min \d+ s by weights_schedule, which", text_of(html))
        assert ('<span class="warn">due since' in html) is is_late


def test_what_is_wrong_comes_first_and_no_markup_of_it_counts(serve: Serve, see: Any) -> None:
    stopped = {**PROCESS, "state": "stopped"}
    see(seen(alerts=(ALERT,), processes=(stopped,), broker={"at": "x", "reachable": False, "problem": "is away"}))
    client = serve(HERE)
    client.post("/set_running", json={"running": False}, headers={"master-hotkey": "5Own"})
    html = client.get("/").text
    page = text_of(html)
    assert "No challenge is taken now." in page
    assert "stopped by an operator with /set_running on the validator&#39;s own machine, POST" in page
    assert page.index("worker does not run") < page.index("no permit")
    assert "the broker is away" in page
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(("before", "holds"), [("observed", True), ("unregistered", False), ("superseded", False)])
def test_what_the_chain_holds_is_told_of_what_it_holds(
    home: Path, serve: Serve, settings: Settings, see: Any, before: str, holds: bool
) -> None:
    see(seen(chain={}))
    submitted(settings, state=before)
    submitted(settings, state="refused")
    page = text_of(serve(HERE).get("/").text)
    assert "last weights refused epoch 3" in page
    assert ("the chain holds epoch 2" in page) is holds


def test_weights_of_another_hotkey_are_told_as_such(home: Path, serve: Serve, settings: Settings, see: Any) -> None:
    row = submitted(settings)
    see(seen(chain={**CHAIN, "hotkey": "5Another", "netuid": row.plan.netuid}))
    assert "by another hotkey, subnet or chain" in text_of(serve(HERE).get("/").text)


def test_a_refused_result_is_shown_with_its_reason_and_what_tells_it_again(serve: Serve, inbox: Inbox) -> None:
    client = serve(HERE)
    assert "<h2>Refused by" not in client.get("/").text
    outbox = Outbox(inbox.engine)
    outbox.keep_result(accept(inbox), b"{}", NOW)
    outbox.park(outbox.lease(NOW, 1)[0], f"HTTP 422: {HOSTILE}")
    outbox.keep_reports(DeliveryKind.PENALTY_REPORT, {"digest": b"{}"}, NOW)
    outbox.postpone(outbox.lease(NOW, 1)[0], "ConnectError", NOW, 3600.0)
    html = client.get("/").text
    assert "<h2>Refused by the Challenge API</h2>" in html
    assert "HTTP 422: &lt;script&gt;" in html
    assert HOSTILE not in html
    assert "loosh retry" in html
    assert "0 and 1 refused by the Challenge API" in text_of(html)
    assert re.search(r"penalty report digest 1 in \d+ (min|h) ConnectError", text_of(html))


def test_prompts_and_ids_of_strangers_are_only_text(serve: Serve, inbox: Inbox) -> None:
    accept(inbox, '"><img src=x>/../#?', prompt=HOSTILE)
    html = serve(HERE).get("/").text
    assert HOSTILE not in html
    assert "<img src=x" not in html
    assert 'href="./rounds/%22%3E%3Cimg%20src%3Dx%3E%2F..%2F%23%3F"' in html


def test_strangers_see_how_it_is_and_neither_addresses_nor_reasons(
    serve: Serve, see: Any, inbox: Inbox, settings: Settings
) -> None:
    secret = "/home/operator/loosh"
    away = {Source.DAGSTER: f"cannot reach {secret}"}
    alert = Alert("x", Source.STORES, Severity.CRITICAL, f"cannot write {secret}", f"look at {secret}")
    see(seen(alerts=(alert,), hosts=(HOST,), blind=away, broker={"at": secret, "reachable": False, "problem": secret}))
    accept(inbox)
    with inbox.engine.begin() as connection:
        connection.execute(challenges.update().values(state=ChallengeState.FAILED, failure=f"no {secret}"))
    outbox = Outbox(inbox.engine)
    outbox.keep_result(accept(inbox, "c-2"), b"{}", NOW)
    outbox.park(outbox.lease(NOW, 1)[0], f"HTTP 500 {secret}")
    private = (secret, str(settings.home), "10.9.8.7", "4711", "inner-host", "Refused by")
    here, away_page = serve(HERE, pages_public=True).get("/").text, serve(AWAY, pages_public=True).get("/").text
    assert [each for each in private if each not in here] == [str(settings.home)]
    assert [each for each in private if each in away_page] == []
    assert "worker" in away_page
    assert "What that is, the operator sees." in away_page
    assert "1 refused by the Challenge API" in away_page


def test_where_the_public_may_look_on_canaries_are_neither_seen_nor_counted(serve: Serve, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    canary = accept(inbox, "the-canary", now - timedelta(minutes=1))
    with inbox.engine.begin() as connection:
        mark(connection, canary, CanaryMark([], "q"), now)
    assert "the-canary" in serve(HERE).get("/").text
    page = serve(HERE, pages_public=True).get("/").text
    assert "the-canary" not in page
    assert "challenges in the last hour 0 0 in 24 hours" in text_of(page)
    assert "waiting for scores 0 nothing waits" in text_of(page)


def test_before_anything_was_seen_the_page_is_there(serve: Serve, see: Any) -> None:
    see(None)
    html = serve(HERE).get("/").text
    page = text_of(html)
    assert 'class="headline unseen"' in html
    assert "They are being looked at." in page
    assert "mode not known the chain was not seen yet" in page


def test_parts_that_change_can_be_fetched_anew(serve: Serve, inbox: Inbox) -> None:
    accept(inbox)
    html = serve(HERE).get("/").text
    fresh = re.findall(r'<div id="([^"]+)"[^>]*data-fresh="\d+"', html)
    assert fresh == ["state", "hours", "newest", "deliveries", "processes"]
    assert not re.search(r' style="|<style| on\w+="', html)


def test_links_lead_into_dagster_where_there_is_one(serve: Serve, inbox: Inbox) -> None:
    accept(inbox, "c/1")
    html = serve(HERE, dagster_url="http://127.0.0.1:3999").get("/").text
    assert "http://127.0.0.1:3999/assets/consensus_scores?view=partitions&amp;partition=c%2F1" in html


def test_no_text_of_a_stranger_takes_more_than_its_part_of_the_page(serve: Serve, see: Any, inbox: Inbox) -> None:
    """Neither where it is read nor in a title; a browser hangs over a line of 100,000 characters."""
    long = "A" * 100_000
    parked = Seen(
        NOW, parked_challenges=1, parked_example=f"c-1: {long}", parked_deliveries={"result": 1}, refusal=long
    )
    lately = (Death(NOW, f"said {long}"),)
    see(
        seen(
            alerts=standing_alerts(parked),
            processes=({**PROCESS, "state": "stopped"},),
            broker={"at": "x", "reachable": False, "problem": long},
            blind={Source.DAGSTER: long},
            deaths={"worker": lately},
        )
    )
    accept(inbox, prompt=long)
    with inbox.engine.begin() as connection:
        connection.execute(challenges.update().values(state=ChallengeState.FAILED, failure=f"Failure: {long}"))
    outbox = Outbox(inbox.engine)
    outbox.keep_result(accept(inbox, "c-2"), b"{}", NOW)
    outbox.park(outbox.lease(NOW, 1)[0], f"HTTP 422: {long}")
    outbox.keep_result(accept(inbox, "c-3"), b"{}", NOW)
    outbox.postpone(outbox.lease(NOW, 1)[0], f"HTTP 503: {long}", NOW, 3600.0)
    client = serve(HERE)
    for path in ("/", "/challenges"):
        html = client.get(path).text
        assert max(map(len, re.findall("A+", html))) <= TEXT_ROOM, path
        assert html.count("HTTP 503: AAA") == (2 if path == "/" else 1), "a title, and a row of its own"
    html = client.get("/").text
    assert "the newest c-1: AAA" in html
    assert "last time" in html
    assert len(html.encode()) < 30_000
