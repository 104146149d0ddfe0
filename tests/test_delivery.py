"""Telling the Challenge API: each due row once, what it answers decides what becomes of it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from loosh_pipeline.delivery import (
    BATCH_LIMIT,
    BUDGET_S,
    LONGEST_TURNED_AWAY,
    by_digest,
    deliver_due,
    evaluation_of,
    nothing_of,
    result_of,
)
from loosh_pipeline.devnet.api_record import Batches, ReceivedBatch, Record
from loosh_pipeline.devnet.api_switches import Switches, Turn
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind, Outcome
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import LEASE_S, Outbox, OutboxState
from loosh_pipeline.store.schema import outbox as table
from loosh_pipeline.wire.batch import Evaluation, build_response_batch
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.fakes import FakeChallengeApi
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.builders import NOON, challenge, response, round_scores, score
from tests.wire.peers import VALIDATOR, rsa_key


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Callable[[], datetime]:
    return lambda: after(seconds)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/validator.db")


@pytest.fixture
def outbox(inbox: Inbox) -> Outbox:
    return Outbox(inbox.engine, jitter=lambda: 0.0)


def accept(inbox: Inbox, challenge_id: str) -> ChallengeId:
    inbox.accept(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "hi"}, NOON)
    return ChallengeId(challenge_id)


class Noticing(Batches):
    """Batches that say when the first one came."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = asyncio.Event()

    def add(self, batch: ReceivedBatch) -> bool:
        self.taken.set()
        return super().add(batch)


def keep(inbox: Inbox, *ids: str) -> None:
    for challenge_id in (accept(inbox, each) for each in ids):
        Outbox(inbox.engine).keep_result(challenge_id, encode_json({"challenge_id": challenge_id}), NOON)


def told(api: FakeChallengeApi) -> list[str]:
    return [call["challenge_id"] for call in api.calls]


def test_the_verdict_names_the_highest_paid_and_everyones_pay() -> None:
    scores = (score("b", 1.5), score("a", 1.5), score("c", 0.0, outcome=Outcome.TIMEOUT))
    verdict = evaluation_of(round_scores(scores))
    assert (verdict.best_miner, verdict.consensus_score) == ("b", 0.5)
    assert verdict.emissions == {"a": 1.5, "b": 1.5, "c": 0.0}
    assert evaluation_of(round_scores(scores[::-1])).best_miner == "b", "a tie does not depend on the order"


def test_nobody_paid_is_no_best_miner_and_no_consensus_is_zero() -> None:
    verdict = evaluation_of(round_scores((score("a", 0.0, outcome=Outcome.EMPTY),), measure=None))
    assert (verdict.best_miner, verdict.consensus_score, verdict.emissions) == (None, 0.0, {"a": 0.0})


@pytest.mark.parametrize("status", [DeliveryStatus.DELIVERED, DeliveryStatus.ALREADY])
def test_delivered_now_or_before_is_done(inbox: Inbox, outbox: Outbox, status: DeliveryStatus) -> None:
    keep(inbox, "c-1")
    api = FakeChallengeApi([Delivery(status)])
    assert deliver_due(outbox, api, at(0)) == {status: 1}
    assert deliver_due(outbox, api, at(1e6)) == {}
    assert inbox.get(ChallengeId("c-1")).state is ChallengeState.SUBMITTED
    assert told(api) == ["c-1"]


def test_retried_rows_wait_as_long_as_they_were_told(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")
    busy = Delivery(DeliveryStatus.RETRY, "HTTP 429", retry_after_s=100.0)
    api = FakeChallengeApi([busy, Delivery(DeliveryStatus.RETRY, "ConnectError")])
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(99)) == {}
    assert deliver_due(outbox, api, at(100)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(103)) == {}
    assert deliver_due(outbox, api, at(104)) == {DeliveryStatus.DELIVERED: 1}


def test_refused_is_parked_and_holds_up_nobody(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2")
    api = FakeChallengeApi([Delivery(DeliveryStatus.REFUSED, "HTTP 422")])
    tally = deliver_due(outbox, api, at(0))
    assert tally == {DeliveryStatus.REFUSED: 1, DeliveryStatus.DELIVERED: 1}
    assert outbox.counts()[OutboxState.PARKED] == 1


def test_what_is_turned_away_is_refused_when_it_is_a_day_old(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")
    away = Delivery(DeliveryStatus.RETRY, "HTTP 404", turned_away=True)
    day = LONGEST_TURNED_AWAY.total_seconds()
    api = FakeChallengeApi([away] * 99)
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(day - 1)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(day + 3)) == {DeliveryStatus.REFUSED: 1}
    assert [each.detail for each in outbox.refused(9)] == [f"HTTP 404; kept since {NOON}"]
    assert deliver_due(outbox, api, at(9 * day)) == {}
    assert outbox.unpark(after(9 * day)) == 1
    assert deliver_due(outbox, FakeChallengeApi(), at(9 * day)) == {DeliveryStatus.DELIVERED: 1}


def test_while_the_api_is_away_nothing_is_given_up(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")
    week = 7 * LONGEST_TURNED_AWAY.total_seconds()
    for delivery in (Delivery(DeliveryStatus.RETRY, "HTTP 503"), Delivery(DeliveryStatus.RETRY, "ConnectError")):
        week += 1000
        assert deliver_due(outbox, FakeChallengeApi([delivery]), at(week)) == {DeliveryStatus.RETRY: 1}
    assert outbox.counts()[OutboxState.PARKED] == 0


def test_nothing_of_a_challenge_is_a_batch_without_answers_and_best_miner() -> None:
    body = json.loads(nothing_of(challenge(id="c-7"), "5V"))
    assert (body["challenge_id"], body["responses"], body["validator_hotkey"]) == ("c-7", [], "5V")
    assert body["evaluation"]["best_miner_id"] is None
    assert (body["evaluation"]["emissions"], body["evaluation"]["consensus_score"]) == ({}, 0.0)


class ApiOfSmallBatches:
    """Never gets through what is big within its time limit of 25 s."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> datetime:
        return after(self.now_s)

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        if b"big" in payload:
            self.now_s += 25.0
            return Delivery(DeliveryStatus.RETRY, "not delivered within 25 s")
        self.now_s += 0.2
        return Delivery(DeliveryStatus.DELIVERED)


def test_w_13_batches_that_never_get_through_delay_no_others(inbox: Inbox, outbox: Outbox) -> None:
    """A round a minute for two hours, every third one with a batch that the API cannot take."""
    api = ApiOfSmallBatches()
    for number in range(120):
        api.now_s = max(api.now_s, 60.0 * number)
        challenge_id = accept(inbox, f"{'big' if number % 3 == 0 else 'ok'}-{number}")
        outbox.keep_result(challenge_id, encode_json({"challenge_id": challenge_id}), api.clock())
        while api.now_s < 60.0 * (number + 1):
            deliver_due(outbox, api, api.clock)
            api.now_s += 10.0
    with reading(inbox.engine) as connection:
        rows = connection.execute(select(table).where(table.c.key.startswith("ok"))).all()
    assert len(rows) == 80
    assert max((row.delivered_at - row.created_at).total_seconds() for row in rows if row.delivered_at) < 60
    assert sum(row.state == OutboxState.PENDING for row in rows) <= 1


def test_one_challenge_can_be_told_alone(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2")
    api = FakeChallengeApi()
    deliver_due(outbox, api, at(0), ChallengeId("c-2"))
    assert told(api) == ["c-2"]


def test_a_call_takes_no_more_than_its_batch_and_tries_no_row_twice(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, *(f"c-{number}" for number in range(BATCH_LIMIT + 3)))
    api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "503")] * (BATCH_LIMIT + 3))
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: BATCH_LIMIT}
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: 3}
    assert len(set(told(api))) == BATCH_LIMIT + 3


class SlowApi:
    """Takes 15 s to fail, while a second sender looks for work."""

    def __init__(self, outbox: Outbox) -> None:
        self.now_s = 0.0
        self.seen_elsewhere: list[str] = []
        self._outbox = outbox

    def clock(self) -> datetime:
        return after(self.now_s)

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        self.now_s += 15.0
        self.seen_elsewhere += [row.key for row in self._outbox.lease(self.clock(), 1)]
        return Delivery(DeliveryStatus.RETRY, f"timeout for {json.loads(payload)['challenge_id']}")


def test_a_slow_api_ends_the_call_in_time_and_keeps_no_row_from_others(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2", "c-3", "c-4", "c-5")
    api = SlowApi(outbox)
    assert deliver_due(outbox, api, api.clock) == {DeliveryStatus.RETRY: 2}
    assert api.now_s < BUDGET_S + 15.0
    assert api.seen_elsewhere == ["c-2", "c-4"], "never the one that is under way"
    assert BUDGET_S < LEASE_S


KEEP_AND_HANG = """
import sys, time
from datetime import UTC, datetime
from sqlalchemy import event
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
inbox = Inbox.open(sys.argv[1])

def hang(*arguments):
    if "UPDATE challenges" in str(arguments[2]):
        print("between", flush=True)
        time.sleep(600)

if sys.argv[2] == "between":
    event.listen(inbox.engine, "before_cursor_execute", hang)
Outbox(inbox.engine).keep_result(ChallengeId("c-1"), b'{"challenge_id": "c-1"}', datetime(2026, 1, 2, 12, tzinfo=UTC))
print("after", flush=True)
time.sleep(600)
"""

DELIVER = """
import sys
from datetime import UTC, datetime
from bittensor_core import Keypair
from loosh_pipeline.delivery import deliver_due
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.wire.challenge_api_client import HttpChallengeApi
outbox = Outbox(Inbox.open(sys.argv[1]).engine)
api = HttpChallengeApi(sys.argv[2], Keypair.from_seed(b"\\x01" * 32))
deliver_due(outbox, api, lambda: datetime(2026, 1, 2, 12, tzinfo=UTC))
"""


@contextmanager
def killed(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed with -9 when the block ends."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            assert process.wait(10) == -signal.SIGKILL


def test_w_13_killed_with_9_between_the_result_and_its_challenge_nothing_has_happened(
    inbox: Inbox, outbox: Outbox, tmp_path: Path
) -> None:
    accept(inbox, "c-1")
    with killed(KEEP_AND_HANG, f"sqlite:///{tmp_path}/validator.db", "between") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "between\n"
    assert outbox.counts()[OutboxState.PENDING] == 0
    assert inbox.get(ChallengeId("c-1")).state is ChallengeState.RECEIVED
    assert outbox.keep_result(ChallengeId("c-1"), b"{}", NOON), "the next run keeps it"


def test_w_13_killed_with_9_between_keeping_and_telling_it_is_told(
    inbox: Inbox, outbox: Outbox, tmp_path: Path
) -> None:
    accept(inbox, "c-1")
    with killed(KEEP_AND_HANG, f"sqlite:///{tmp_path}/validator.db", "after") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "after\n"
    api = FakeChallengeApi()
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.DELIVERED: 1}
    assert told(api) == ["c-1"]
    assert inbox.get(ChallengeId("c-1")).state is ChallengeState.SUBMITTED


def test_w_26_killed_with_9_while_telling_it_is_told_again_and_known_by_its_id(
    inbox: Inbox, outbox: Outbox, tmp_path: Path
) -> None:
    """The API has it, nobody knows: the row is still there, leased, and the second telling is a 409."""
    accept(inbox, "c-1")
    body = build_response_batch(challenge(id="c-1"), [], Evaluation(0.0), VALIDATOR.ss58_address)
    outbox.keep_result(ChallengeId("c-1"), encode_json(body), NOON)
    switches, batches = Switches(), Noticing()
    switches.set("/fiber/response/batch", [Turn(hang=True)])
    handshakes = HandshakeServer(private_key=rsa_key())
    app = create_challenge_api_app(handshakes=handshakes, record=Record(batches), switches=switches)

    async def scenario() -> list[Mapping[DeliveryStatus, int]]:
        async with serve_apps([Served(app)]) as (port,):
            url = f"http://127.0.0.1:{port}"
            with killed(DELIVER, f"sqlite:///{tmp_path}/validator.db", url):
                await asyncio.wait_for(batches.taken.wait(), 30)
            api = HttpChallengeApi(url, VALIDATOR)
            return [await asyncio.to_thread(deliver_due, outbox, api, at(s)) for s in (LEASE_S - 1, LEASE_S)]

    assert asyncio.run(scenario()) == [{}, {DeliveryStatus.ALREADY: 1}]
    assert len(batches.all()) == 1
    assert inbox.get(ChallengeId("c-1")).state is ChallengeState.SUBMITTED


def test_nobody_answering_is_told_as_a_batch_without_answers_in_test_mode_too() -> None:
    failed = [response(outcome=Outcome.TIMEOUT, text="")]
    for test_mode in (False, True):
        kind, body = result_of(challenge(), failed, Evaluation(0.0), "validator", test_mode=test_mode)
        assert (kind, body["responses"]) == (DeliveryKind.RESPONSE_BATCH, [])
        assert body["evaluation"]["best_miner_id"] is None


def test_in_test_mode_the_fastest_answer_is_told_alone() -> None:
    answers = [response("a", elapsed_ms=9.0, text="slow"), response("b", elapsed_ms=8.0, text="[TEST MODE] fast")]
    kind, body = result_of(challenge(), answers, Evaluation(0.0), "validator", test_mode=True)
    assert (kind, body["text"]) == (DeliveryKind.CALLBACK, "[TEST MODE] fast")


def test_answers_in_test_mode_are_forwarded_in_the_batch_like_any_other() -> None:
    kind, body = result_of(
        challenge(), [response("a", text="[TEST MODE] hello")], Evaluation(0.0), "validator", test_mode=False
    )
    assert (kind, body["responses"][0]["text"]) == (DeliveryKind.RESPONSE_BATCH, "[TEST MODE] hello")


def test_the_same_report_has_the_same_key() -> None:
    first, again, other = (list(by_digest([body])) for body in ({"a": 1}, {"a": 1}, {"a": 2}))
    assert first == again != other
    assert by_digest([]) == {}


def test_a_delivery_that_dies_is_tried_again_after_its_lease(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")

    class Dying:
        def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver_due(outbox, Dying(), at(0))
    api = FakeChallengeApi()
    assert deliver_due(outbox, api, at(LEASE_S - 1)) == {}
    assert deliver_due(outbox, api, at(LEASE_S)) == {DeliveryStatus.DELIVERED: 1}
