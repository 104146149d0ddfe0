"""What `loosh challenges show` says of a challenge at each step of its way."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.domain import ChallengeId, DeliveryKind
from loosh_pipeline.following import waited_for
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import response, round_scores, score
from tests.claims import claim

ID = ChallengeId("c-1")
MODEL = "ab" * 32


def show(*options: str) -> tuple[int, dict[str, Any]]:
    said = CliRunner().invoke(app, ["challenges", "show", ID, "--json", *options])
    return said.exit_code, json.loads(said.stdout)


@pytest.fixture
def inbox(settings: Settings) -> Inbox:
    inbox = Inbox.open(settings.inbox_url)
    inbox.accept(ID, {"id": ID, "prompt": "hi"}, datetime.now(UTC))
    return inbox


def scored(settings: Settings, inbox: Inbox, profile: RobustProfile, payout: float) -> None:
    key = TableKey.of(ID, inbox.get(ID).received_at)
    by = {"profile": profile.name, "scorer_version": scorer_version(profile, MODEL)}
    result = round_scores((score("hotkey-1", payout=payout),), challenge_id=ID, **by)
    ScoreTables(Tables(settings.tables_root)).write(key, result, profile, MODEL, inbox.get(ID).received_at)


def test_one_that_waits_has_nothing_yet(inbox: Inbox) -> None:
    code, said = show("--wait", "--within-s", "0")
    assert (code, said["state"], said["told"], said["payouts"]) == (3, "received", None, [])


def test_one_that_was_told_says_who_was_paid(settings: Settings, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    inbox.collected(ID, [response()], now)
    scored(settings, inbox, RobustProfile(relevance_gate=0.4), 0.4)
    scored(settings, inbox, RobustProfile(), 0.5)  # a later version beside it, which counts
    outbox = Outbox(inbox.engine)
    outbox.keep_result(ID, b"{}", now)
    code, said = show()
    assert (code, said["state"], said["told"]["state"]) == (0, "scored", "pending")
    (leased,) = outbox.lease(now, 1)
    assert leased.kind is DeliveryKind.RESPONSE_BATCH
    outbox.delivered(leased, "HTTP 201", now)
    code, said = show("--wait")
    assert (code, said["state"], said["told"]) == (
        0,
        "submitted",
        {"state": "delivered", "attempts": 1, "answer": "HTTP 201"},
    )
    assert [(each["hotkey"], each["payout"]) for each in said["payouts"]] == [("hotkey-1", 0.5)]
    shown = CliRunner().invoke(app, ["challenges", "show", ID], env={"COLUMNS": "150"}).stdout
    assert "1 asked, 1 answered" in shown
    assert "0.5000" in shown
    assert "delivered, tried once, HTTP 201" in shown


def test_hotkeys_are_whole_on_a_narrow_terminal(settings: Settings, inbox: Inbox) -> None:
    hotkey = "5GWPrVEHPsb9gbj5kqZ25cp2oFqBxv1PVSacmAUpMgKpbXYZ"
    inbox.collected(ID, [response(hotkey)], datetime.now(UTC))
    profile, row = RobustProfile(), inbox.get(ID)
    key = TableKey.of(ID, row.received_at)
    by = {"profile": profile.name, "scorer_version": scorer_version(profile, MODEL)}
    result = round_scores((score(hotkey, payout=0.5),), challenge_id=ID, **by)
    ScoreTables(Tables(settings.tables_root)).write(key, result, profile, MODEL, row.received_at)
    shown = CliRunner().invoke(app, ["challenges", "show", ID], env={"COLUMNS": "80"}).stdout
    (line,) = (line for line in shown.splitlines() if hotkey in line)
    assert len(line) <= 80
    assert line.split() == [hotkey, "answered", line.split()[2], "0.5000"]


def test_one_that_was_given_up_says_why(inbox: Inbox) -> None:
    now = datetime.now(UTC)
    assert claim(inbox, ID, now) == 1
    inbox.retry(inbox.get(ID), "the workers are gone", now, max_attempts=1)
    code, said = show()
    assert (code, said["state"], said["failure"]) == (1, "failed", "the workers are gone")


def test_waiting_ends_with_the_challenge_or_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.following.LOOK_EVERY_S", 0.0)
    states = iter(["received", "scored", "submitted", "beyond"])
    assert waited_for(lambda: {"state": next(states)}, 60.0) == {"state": "submitted"}
    assert waited_for(lambda: {"state": "received"}, 0.0) == {"state": "received"}
