"""What is to be told is kept until it is told; a delivery is one process's at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import event, select

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import (
    FIRST_RETRY_S,
    LEASE_S,
    LONGEST_RETRY_AFTER_S,
    LONGEST_RETRY_S,
    Outbox,
    OutboxRow,
    OutboxState,
    keep_first_result,
)
from loosh_pipeline.store.schema import outbox as table
from tests.builders import NOON
from tests.claims import claim
from tests.together import together

C1 = ChallengeId("c-1")

LEASE_ALL = """
import sys
from datetime import UTC, datetime
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
outbox = Outbox(Inbox.open(sys.argv[1]).engine)
print("ready", flush=True)
sys.stdin.readline()
while leased := outbox.lease(datetime(2026, 1, 2, 12, tzinfo=UTC), 2):
    for row in leased:
        print(row.challenge_id, flush=True)
"""


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def keep(inbox: Inbox, outbox: Outbox, challenge_id: str = C1, at: datetime = NOON) -> ChallengeId:
    """A scored challenge whose batch is in the outbox."""
    kept = ChallengeId(challenge_id)
    inbox.accept(kept, {"id": challenge_id, "prompt": "hi"}, at)
    assert outbox.keep_result(kept, b'{"of": "' + challenge_id.encode() + b'"}', at)
    return kept


def lease_one(outbox: Outbox, now: datetime) -> OutboxRow:
    (row,) = outbox.lease(now, 9)
    return row


def stored(outbox: Outbox, inbox: Inbox) -> tuple[str, str | None, datetime | None]:
    with reading(inbox.engine) as connection:
        row = connection.execute(select(table.c.state, table.c.detail, table.c.delivered_at)).one()
    return row.state, row.detail, row.delivered_at


def test_the_first_payload_stands(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    assert not outbox.keep_result(C1, b"another", after(1))
    assert not outbox.keep_result(C1, b"another", after(1), DeliveryKind.CALLBACK), "it is told in one form only"
    assert outbox.keep_heatmap(C1, b"\x00\xff", after(1))
    assert not outbox.keep_heatmap(C1, b"another", after(1))
    assert [row.payload for row in outbox.lease(after(1), 9)] == [b'{"of": "c-1"}', b"\x00\xff"]


def test_nothing_is_kept_of_a_challenge_that_was_never_accepted(inbox: Inbox, outbox: Outbox) -> None:
    with pytest.raises(UnknownChallenge, match="'c-9'"):
        outbox.keep_result(ChallengeId("c-9"), b"{}", NOON)
    assert outbox.counts() == {state: 0 for state in OutboxState}


def test_a_lease_is_exclusive_until_it_ends(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    assert not outbox.has_due(after(-1))
    assert outbox.has_due(NOON)
    assert lease_one(outbox, NOON).attempts == 1
    assert not outbox.has_due(after(LEASE_S - 1))
    assert outbox.lease(after(LEASE_S - 1), 9) == []
    assert lease_one(outbox, after(LEASE_S)).attempts == 2, "the first was killed"


def test_leased_are_the_oldest_first_up_to_the_limit_or_those_of_one_challenge(inbox: Inbox, outbox: Outbox) -> None:
    for number in (3, 1, 2):
        keep(inbox, outbox, f"c-{number}", after(number))
    assert [row.challenge_id for row in outbox.lease(after(9), 9, ChallengeId("c-3"))] == ["c-3"]
    assert [row.challenge_id for row in outbox.lease(after(9), 1)] == ["c-1"]
    assert [row.challenge_id for row in outbox.lease(after(9), 9)] == ["c-2"]


def test_threads_that_lease_at_once_share_nothing(inbox: Inbox, outbox: Outbox) -> None:
    ids = [keep(inbox, outbox, f"c-{number}") for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        leased = [row.challenge_id for rows in pool.map(lambda _: outbox.lease(NOON, 4), range(12)) for row in rows]
    assert sorted(leased) == sorted(ids)


def test_processes_that_lease_at_once_share_nothing(inbox: Inbox, outbox: Outbox, inbox_url: str) -> None:
    ids = [keep(inbox, outbox, f"c-{number}") for number in range(20)]
    processes = together(2, LEASE_ALL, inbox_url)
    leased = [line for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(leased) == sorted(ids)


def test_pauses_grow_up_to_the_longest_and_never_overflow(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    now = NOON
    for pause in (2.0, 4.0, 8.0):
        again = outbox.postpone(lease_one(outbox, now), "503", now)
        assert again == now + timedelta(seconds=pause)
        assert outbox.lease(again - timedelta(milliseconds=1), 9) == []
        now = again
    weeks_of_outage = replace(lease_one(outbox, now), attempts=3000)
    assert outbox.postpone(weeks_of_outage, "503", now) == now + timedelta(seconds=LONGEST_RETRY_S)


@pytest.mark.parametrize(
    ("asked_s", "waited_s"),
    [(None, FIRST_RETRY_S), (0.0, FIRST_RETRY_S), (77.0, 77.0), (1e12, LONGEST_RETRY_AFTER_S)],
)
def test_retry_after_is_honoured_within_reason(
    inbox: Inbox, outbox: Outbox, asked_s: float | None, waited_s: float
) -> None:
    keep(inbox, outbox)
    assert outbox.postpone(lease_one(outbox, NOON), "429", NOON, asked_s) == after(waited_s)
    assert outbox.lease(after(waited_s - 0.001), 9) == []
    assert lease_one(outbox, after(waited_s)).attempts == 2


def test_parked_is_kept_with_its_reason_and_never_tried_again(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    outbox.park(lease_one(outbox, NOON), "HTTP 422: no such challenge")
    assert outbox.lease(after(1e6), 9) == []
    assert stored(outbox, inbox) == ("parked", "HTTP 422: no such challenge", None)
    assert inbox.get(C1).state is ChallengeState.SCORED


def test_delivered_moves_the_challenge_too(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    outbox.delivered(lease_one(outbox, NOON), "HTTP 201", after(3))
    assert stored(outbox, inbox) == ("delivered", "HTTP 201", after(3))
    assert inbox.get(C1).state is ChallengeState.SUBMITTED
    assert outbox.counts() == {OutboxState.PENDING: 0, OutboxState.DELIVERED: 1, OutboxState.PARKED: 0}
    assert outbox.lease(after(1e6), 9) == []


def test_delivered_is_one_transaction(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    row = lease_one(outbox, NOON)

    def die_before_the_challenge_moves(*arguments: object) -> None:
        if "UPDATE challenges" in str(arguments[2]):
            raise KeyboardInterrupt

    event.listen(inbox.engine, "before_cursor_execute", die_before_the_challenge_moves)
    with pytest.raises(KeyboardInterrupt):
        outbox.delivered(row, "HTTP 201", NOON)
    event.remove(inbox.engine, "before_cursor_execute", die_before_the_challenge_moves)
    assert stored(outbox, inbox)[0] == "pending"
    assert inbox.get(C1).state is ChallengeState.SCORED
    outbox.delivered(lease_one(outbox, after(LEASE_S)), "HTTP 409", after(LEASE_S))
    assert inbox.get(C1).state is ChallengeState.SUBMITTED


def test_an_attempt_whose_lease_ran_out_undoes_nothing(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    slow = lease_one(outbox, NOON)
    outbox.delivered(lease_one(outbox, after(LEASE_S)), "HTTP 201", after(LEASE_S))
    outbox.park(slow, "HTTP 400")
    outbox.postpone(slow, "HTTP 500", after(LEASE_S + 1))
    assert stored(outbox, inbox) == ("delivered", "HTTP 201", after(LEASE_S))


def test_an_operator_can_tell_a_refused_result_again(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    outbox.park(lease_one(outbox, NOON), "400 bad deploy")
    assert not outbox.has_due(after(10**6))
    assert outbox.unpark(after(1000)) == 1
    outbox.delivered(lease_one(outbox, after(1000)), "201", after(1001))
    assert inbox.get(C1).state is ChallengeState.SUBMITTED
    assert outbox.unpark(after(2000)) == 0


def given_up(inbox: Inbox, payload: bytes = b'{"responses": []}') -> None:
    """A challenge whose only run died."""
    inbox.accept(C1, {"id": C1, "prompt": "hi"}, NOON)
    retry(inbox, payload)


def retry(inbox: Inbox, payload: bytes) -> None:
    claim(inbox, C1, NOON)
    keep_nothing = partial(keep_first_result, challenge_id=C1, payload=payload, now=after(60))
    assert inbox.retry(inbox.get(C1), "it died", after(60), 1, keep_nothing) is ChallengeState.FAILED


def test_w_22_a_challenge_that_is_given_up_is_told_and_stays_given_up(inbox: Inbox, outbox: Outbox) -> None:
    given_up(inbox)
    row = lease_one(outbox, after(60))
    assert (row.kind, row.key, row.payload) == (DeliveryKind.RESPONSE_BATCH, C1, b'{"responses": []}')
    outbox.delivered(row, "HTTP 201", after(61))
    assert (inbox.get(C1).state, inbox.get(C1).failure) == (ChallengeState.FAILED, "it died")


def test_to_give_up_and_to_tell_of_it_is_one_transaction(inbox: Inbox, outbox: Outbox) -> None:
    inbox.accept(C1, {"id": C1, "prompt": "hi"}, NOON)
    claim(inbox, C1, NOON)

    def die(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inbox.retry(inbox.get(C1), "it died", after(60), 1, die)
    assert inbox.get(C1).state is ChallengeState.DISPATCHED
    assert outbox.counts()[OutboxState.PENDING] == 0
    inbox.retry(inbox.get(C1), "it died", after(60), 2, die)
    assert inbox.get(C1).state is ChallengeState.DISPATCHED, "nothing is told before it is given up"


def test_what_moved_on_is_not_told_to_be_given_up(inbox: Inbox, outbox: Outbox) -> None:
    inbox.accept(C1, {"id": C1, "prompt": "hi"}, NOON)
    seen = inbox.get(C1)
    claim(inbox, C1, NOON)
    keep_nothing = partial(keep_first_result, challenge_id=C1, payload=b"{}", now=after(60))
    inbox.retry(seen, "it seemed dead", after(60), 0, keep_nothing)
    assert outbox.counts()[OutboxState.PENDING] == 0


@pytest.mark.parametrize("told_first", [False, True])
def test_evaluated_after_all_the_first_result_stands(inbox: Inbox, outbox: Outbox, told_first: bool) -> None:
    given_up(inbox)
    if told_first:
        outbox.delivered(lease_one(outbox, after(60)), "HTTP 201", after(61))
    assert inbox.unpark(after(100)) == 1
    assert claim(inbox, C1, after(100)) == 1
    if not told_first:
        outbox.delivered(lease_one(outbox, after(101)), "HTTP 201", after(102))
    assert inbox.get(C1).state is ChallengeState.DISPATCHED, "being told of is not being evaluated"
    assert not outbox.keep_result(C1, b"scored", after(103))
    assert inbox.get(C1).state is ChallengeState.SUBMITTED
    assert inbox.get(C1).scored_at == after(103)


def test_a_dead_run_of_a_challenge_once_given_up_is_seen(inbox: Inbox, outbox: Outbox) -> None:
    given_up(inbox)
    inbox.unpark(after(100))
    claim(inbox, C1, after(100))
    assert [row.id for row in inbox.stalled(after(999), 9)] == [C1]
    retry(inbox, b"another")
    assert lease_one(outbox, after(999)).payload == b'{"responses": []}'
