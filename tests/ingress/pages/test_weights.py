"""The page of weights: was the last one set, what is next, and what changed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingress.epochs import Epochs
from ingress.pages.weight_rows import epoch_rows, moved
from ingress.pages.weight_words import next_due, not_ours, verdict
from ingress.standing import KEPT_S, Standings
from loosh_pipeline.audit.scorer_diff import SHADOW_DIFF
from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import submission_row
from tests.ingress.conftest import AWAY, HERE, Serve
from tests.ingress.pages.conftest import submitted

BROWSER = {"accept": "text/html"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_before_any_weights_it_says_what_holds_them_up(serve: Serve) -> None:
    page = serve(HERE).get("/weights").text
    assert "No weights were submitted from here yet" in page
    assert "the chain was never seen" in page
    assert "SUBTENSOR_ADDRESS" in page


def test_it_is_not_for_strangers(serve: Serve) -> None:
    assert serve(AWAY).get("/weights").status_code == 403


def test_was_the_last_weight_set(home: Path, serve: Serve) -> None:
    page = serve(HERE, dagster_url="http://127.0.0.1:3999").get("/weights").text
    assert "Was the last weight set? Yes" in page
    assert "read back from the chain as submitted" in page
    assert "loosh audit export --epoch 1" in page
    assert "http://127.0.0.1:3999/assets/weight_receipts" in page
    assert "sybil penalty" in page
    assert "weight is 0" in page
    assert "style=" not in page
    assert page.count("they were included in block") == 1, "it is said once"
    assert "shadow_diff" not in page, "no profile runs beside"


def test_a_failure_is_told_with_what_the_chain_holds_still(home: Path, serve: Serve, settings: Settings) -> None:
    submitted(settings, state="refused", reason=HOSTILE)
    page = serve(HERE).get("/weights").text
    assert "Was the last weight set? No" in page
    assert "The last that the chain took are those of epoch" in page
    assert "<script>alert" not in page
    assert "<img" not in page.partition("<main")[2]


def test_weights_of_another_hotkey_come_after_none_of_this(home: Path, serve: Serve, settings: Settings) -> None:
    first = submitted(settings, {"hotkey-1": 0.25, "hotkey-2": 0.75})
    submitted(settings, {"hotkey-1": 0.5, "hotkey-2": 0.5}, hotkey=Hotkey("5Other"))
    own = submitted(settings, {"hotkey-1": 0.25, "hotkey-2": 0.75}, hotkey=first.hotkey)
    epochs = Epochs((inbox := Inbox.open(settings.inbox_url)).engine, Tables(settings.tables_root))
    assert [each.id for each in epochs.taken(own, 2)] == [own.id, first.id]
    assert epoch_rows(epochs.newest(3), {})[0].moved == 0.0
    assert epoch_rows(epochs.newest(3), {})[1].moved is None
    assert [each.row.id for each in epochs.past(Hotkey("hotkey-1"), own, 2)] == [first.id, own.id]
    inbox.engine.dispose()


def test_the_last_weights_are_those_of_this_hotkey_on_this_chain(home: Path, settings: Settings) -> None:
    own = submitted(settings)
    other = submitted(settings, hotkey=Hotkey("5Other"))
    epochs = Epochs((inbox := Inbox.open(settings.inbox_url)).engine, Tables(settings.tables_root))
    ours = {"hotkey": own.hotkey, "netuid": own.plan.netuid, "genesis_hash": own.genesis_hash}
    assert epochs.own(ours) == own
    assert not_ours(own, ours) == ""
    assert epochs.own({}) == other
    for elsewhere in ({"hotkey": "5New"}, {"netuid": 7}, {"genesis_hash": "0x12"}):
        found = epochs.own(ours | elsewhere)
        assert found == other
        assert not_ours(found, ours | elsewhere).startswith("They are of hotkey 5Other on subnet")
    inbox.engine.dispose()


def test_weights_whose_slot_is_lost_are_held_no_more() -> None:
    row = submission_row(state=SubmissionState.OBSERVED, included_block=77)
    assert row.in_place
    for state in (SubmissionState.UNREGISTERED, SubmissionState.SUPERSEDED, SubmissionState.REFUSED):
        assert not replace(row, state=state).in_place


def test_how_it_stands_is_judged_once_in_some_seconds_and_a_failure_is_told_in_its_place(
    home: Path, serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def broken(*_: object) -> None:
        judged.append(1)
        raise StoreError("weight_proposals is <b>broken</b>")

    monkeypatch.setattr("ingress.standing.stored_standing", broken)
    client = serve(HERE)
    page = client.get("/weights", headers=BROWSER)
    assert page.status_code == 200
    assert "it cannot be read how this validator stands (StoreError: weight_proposals is &lt;b&gt;broken" in page.text
    assert "Was the last weight set? Yes" in page.text
    now = [0.0]
    standings = Standings(settings, (inbox := Inbox.open(settings.inbox_url)).engine, clock=lambda: now[0])
    judged.clear()
    for at_s, count in ((0.0, 1), (KEPT_S / 2, 1), (KEPT_S, 2)):
        now[0] = at_s
        assert standings() == "StoreError: weight_proposals is <b>broken</b>"
        assert len(judged) == count
    inbox.engine.dispose()


def test_strangers_read_neither_reasons_nor_what_to_do(home: Path, serve: Serve, settings: Settings) -> None:
    submitted(settings, state="refused", reason="wss://inner-host refused them")
    page = serve(HERE, dagster_url="http://dagster.example").get("/weights").text
    public = serve(AWAY, pages_public=True, dagster_url="http://dagster.example").get("/weights").text
    assert "Was the last weight set? No" in public
    for private in ("inner-host", "dagster.example"):
        assert private in page
        assert private not in public


def test_an_epoch_beside_the_one_before(home: Path, serve: Serve, settings: Settings) -> None:
    submitted(settings, {"hotkey-1": 0.25, "hotkey-2": 0.75})
    submitted(settings, {"hotkey-1": 0.75, "hotkey-2": 0.25})
    client = serve(HERE)
    page = client.get("/weights?epoch=3").text
    assert "+50.00" in page
    assert "−50.00" in page
    assert "50.0 %" in page
    (spec,) = re.findall(r'<script type="application/json">(.+?)</script>', page)
    assert json.loads(spec)["data"]["values"][0] == {"m": "uid 1", "now": 75.0, "last": 25.0}
    assert "Epoch 1" in client.get("/weights?epoch=1").text


def test_the_history_goes_on_on_further_pages(home: Path, serve: Serve, settings: Settings) -> None:
    for _ in range(24):
        submitted(settings)
    client = serve(HERE)
    page = client.get("/weights").text
    assert "before=6" in page
    older = client.get("/weights?before=6").text.partition("<h2>History</h2>")[2]
    assert re.findall(r'weights\?epoch=(\d+)"', older) == ["5", "4", "3", "2", "1"]
    for broken in ("x", "-1", "0", "9" * 30, "<b>"):
        answer = client.get("/weights", params={"before": broken}, headers=BROWSER)
        assert answer.status_code == 422
        assert "give the number of one" in answer.text
    assert client.get("/weights?epoch=99", headers=BROWSER).status_code == 404


def test_shadow_profiles_are_told_or_how_to_have_one(home: Path, serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    assert "SCORING_PROFILES=robust,network" in client.get("/weights").text
    (weights,) = Path(settings.tables_root).glob("weights/day=*/*.parquet")
    at = datetime.now(UTC) + timedelta(seconds=5)
    about = {"made_at": at, "epoch": 1, "a": "robust", "b": "network", "rounds": 8, "total_variation": 0.125}
    about |= {"rank_correlation": 0.5, "expected_vtrust": 0.875}
    rows = [about | {"hotkey": "hotkey-1", "weight_a": 0.4, "weight_b": 0.525, "change": 0.125}]
    key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-run", at)
    Tables(settings.tables_root).write("shadow_diff", key, pl.DataFrame(rows, schema=SHADOW_DIFF))
    page = client.get("/weights").text
    assert weights.exists()
    assert "+12.50" in page
    assert "12.5 % of all weight would go to others" in page
    assert "87.5 % of these weights would survive" in page


@pytest.mark.parametrize("state", SubmissionState)
def test_every_state_has_words(home: Path, settings: Settings, state: SubmissionState) -> None:
    found = verdict(submitted(settings, state=state.value))
    assert found.tone in ("good", "warn", "bad")
    assert (found.tone == "bad") is (state.value in ("refused", "expired", "missing", "unrevealed", "unregistered"))


def test_when_the_next_are_due() -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    about = {"block": 100, "hotkey": "h", "not_yet": "too soon", "due_block": 160, "block_s": 12.0}
    facts = about | {"seen_at": "2026-05-04T11:59:20+00:00", "due_at": "2026-05-04T12:11:20+00:00"}

    def said(scored: int = 1, **fields: Any) -> str:
        return next_due(facts | fields, scored, 3, 24.0, now)

    assert said().startswith(
        "at block 160, about 12:11:20 UTC, in 11 min 20 s (the newest known block is 100, seen 40.0"
    )
    assert "1 rounds were scored in the last 24 h, of the 3" in said()
    assert said(due_at="2026-05-04T11:59:00+00:00").startswith("due since 1 min 0 s: weights_schedule looks")
    assert "which is late" in said(due_at="2026-05-04T11:55:00+00:00")
    assert "they are due" in said(3, not_yet=None, due_at=None)
    assert said(due_block=None, due_at=None) == "too soon"
    assert said(due_at=None).startswith("at block 160 (the newest")
    assert "never seen" in said(block=None)


def test_how_much_went_to_others() -> None:
    a, b = {Hotkey("x"): 0.5, Hotkey("y"): 0.5}, {Hotkey("x"): 0.25, Hotkey("z"): 0.75}
    assert moved(a, b) == moved(b, a) == 0.75
    assert moved(a, a) == 0.0
