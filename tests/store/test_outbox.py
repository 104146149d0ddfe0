"""What is to be told is kept until it is told; a delivery is one process's at a time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import (
    FIRST_RETRY_S,
    KEPT,
    LEASE_S,
    LONGEST_RETRY_AFTER_S,
    LONGEST_RETRY_S,
    Outbox,
    OutboxRow,
    OutboxState,
)
from loosh_pipeline.store.schema import outbox as table
from tests.builders import NOON

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
    command = [sys.executable, "-c", LEASE_ALL, inbox_url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
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


def reports(outbox: Outbox, now: datetime, *keys: str, kind: DeliveryKind = DeliveryKind.NETWORK_REPORT) -> int:
    return outbox.keep_reports(kind, {key: key.encode() for key in keys}, now)


def pending(outbox: Outbox, now: datetime) -> list[str]:
    return sorted(row.key for row in outbox.lease(now, 99))


def test_a_result_and_its_challenge_move_in_one_transaction(inbox: Inbox, outbox: Outbox) -> None:
    inbox.accept(C1, {"id": C1, "prompt": "hi"}, NOON)

    def die_before_the_challenge_moves(*arguments: object) -> None:
        if "UPDATE challenges" in str(arguments[2]):
            raise KeyboardInterrupt

    event.listen(inbox.engine, "before_cursor_execute", die_before_the_challenge_moves)
    with pytest.raises(KeyboardInterrupt):
        outbox.keep_result(C1, b"{}", NOON)
    event.remove(inbox.engine, "before_cursor_execute", die_before_the_challenge_moves)
    assert outbox.counts()[OutboxState.PENDING] == 0
    assert inbox.get(C1).state is ChallengeState.RECEIVED
    assert outbox.keep_result(C1, b"{}", NOON)
    assert inbox.get(C1).state is ChallengeState.SCORED


def test_a_report_takes_the_place_of_what_was_not_told(inbox: Inbox, outbox: Outbox) -> None:
    for number in range(5):
        assert reports(outbox, after(number), f"run-{number}") == 1
    assert reports(outbox, after(5), "other", kind=DeliveryKind.PENALTY_REPORT) == 1
    assert outbox.counts()[OutboxState.PENDING] == 2
    (row,) = (row for row in outbox.lease(after(9), 9) if row.kind is DeliveryKind.NETWORK_REPORT)
    assert (row.key, row.payload, row.challenge_id) == ("run-4", b"run-4", None)
    outbox.park(row, "HTTP 422")
    reports(outbox, after(10), "run-5")
    assert outbox.refused(9) == [], "a newer report is given its chance"


def test_reports_of_the_same_words_are_told_once(inbox: Inbox, outbox: Outbox) -> None:
    kind = DeliveryKind.SYBIL_REPORT
    assert reports(outbox, NOON, "digest-1", "digest-2", kind=kind) == 2
    assert reports(outbox, after(1), "digest-1", "digest-2", kind=kind) == 0
    for row in outbox.lease(after(2), 9):
        outbox.delivered(row, "HTTP 201", after(2))
    assert reports(outbox, after(3), "digest-1", kind=kind) == 0
    assert reports(outbox, after(4), "digest-3", kind=kind) == 1
    assert pending(outbox, after(4)) == ["digest-3"]


def test_no_reports_replace_nothing_of_other_kinds(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    reports(outbox, NOON, "run-1")
    reports(outbox, NOON, kind=DeliveryKind.SYBIL_REPORT)
    assert pending(outbox, NOON) == ["c-1", "run-1"]


def test_a_delivery_of_a_replaced_report_touches_nothing_that_took_its_id(inbox: Inbox, outbox: Outbox) -> None:
    """SQLite gives the id of the last row again once that is gone."""
    reports(outbox, NOON, "run-1")
    slow = lease_one(outbox, NOON)
    reports(outbox, NOON)
    keep(inbox, outbox)
    outbox.delivered(slow, "HTTP 201", after(1))
    outbox.park(slow, "HTTP 400")
    outbox.postpone(slow, "HTTP 500", after(1))
    assert stored(outbox, inbox) == ("pending", None, None)
    assert inbox.get(C1).state is ChallengeState.SCORED
    assert pending(outbox, after(1)) == ["c-1"]


def test_results_go_first_then_the_oldest(inbox: Inbox, outbox: Outbox) -> None:
    reports(outbox, after(-9), "run-1")
    keep(inbox, outbox, "c-1")
    outbox.keep_heatmap(C1, b"png", NOON)
    keep(inbox, outbox, "c-2", after(1))
    order = [outbox.lease(after(9), 1)[0] for _ in range(4)]
    assert [(row.kind, row.key) for row in order] == [
        ("response_batch", "c-1"),
        ("response_batch", "c-2"),
        ("network_report", "run-1"),
        ("heatmap", "c-1"),
    ]


def test_one_challenge_alone_is_its_result_alone(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    outbox.keep_heatmap(C1, b"png", NOON)
    assert [row.kind for row in outbox.lease(NOON, 9, C1)] == ["response_batch"]


def test_a_picture_that_arrived_does_not_make_its_challenge_told(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox)
    outbox.keep_heatmap(C1, b"png", NOON)
    _, picture = outbox.lease(NOON, 9)
    outbox.delivered(picture, "HTTP 201", NOON)
    assert inbox.get(C1).state is ChallengeState.SCORED
    assert not outbox.keep_heatmap(C1, b"another", after(1)), "drawn again, it is not told again"


def test_pictures_that_cannot_be_told_do_not_pile_up(
    inbox: Inbox, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.store.outbox.MOST_HEATMAPS", 2)
    for number in range(5):
        keep(inbox, outbox, f"c-{number}")
        assert outbox.keep_heatmap(ChallengeId(f"c-{number}"), b"png", NOON)
    rows = outbox.lease(NOON, 99)
    assert [row.key for row in rows if row.kind is DeliveryKind.HEATMAP] == ["c-3", "c-4"]
    assert len(rows) == 7, "no result is given up"


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, 2.0), (0.5, 1.5), (1.0, 1.0)])
def test_chance_decides_half_of_a_pause(inbox: Inbox, chance: float, pause_s: float) -> None:
    outbox = Outbox(inbox.engine, jitter=lambda: chance)
    keep(inbox, outbox)
    assert outbox.postpone(lease_one(outbox, NOON), "503", NOON) == after(pause_s)


def test_chance_never_shortens_what_the_receiver_asked_for(inbox: Inbox) -> None:
    outbox = Outbox(inbox.engine)
    keep(inbox, outbox)
    assert outbox.postpone(lease_one(outbox, NOON), "429", NOON, 50.0) == after(50)


def test_pauses_of_many_are_spread(inbox: Inbox) -> None:
    outbox = Outbox(inbox.engine)
    for number in range(8):
        keep(inbox, outbox, f"c-{number}")
    again = {outbox.postpone(row, "503", NOON) for row in outbox.lease(NOON, 9)}
    assert len(again) == 8
    assert all(after(1) <= at <= after(2) for at in again)


def test_who_is_asked_to_wait_waits_with_all_of_that_kind(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox, "c-1")
    keep(inbox, outbox, "c-2")
    reports(outbox, NOON, "run-1")
    outbox.postpone(outbox.lease(NOON, 1)[0], "429", NOON, 30.0)
    keep(inbox, outbox, "c-3", after(10))
    assert pending(outbox, after(29)) == ["run-1"]
    assert not outbox.has_due(after(29))
    assert outbox.has_due(after(30))
    assert pending(outbox, after(30)) == ["c-1", "c-2", "c-3"]


def test_payloads_of_results_are_dropped_after_a_week_and_the_rows_keep_them_from_being_told_again(
    inbox: Inbox, outbox: Outbox
) -> None:
    keep(inbox, outbox)
    outbox.keep_heatmap(C1, b"png", NOON)
    reports(outbox, NOON, "run-1")
    keep(inbox, outbox, "c-2")
    parked, *others = outbox.lease(NOON, 9)
    outbox.park(parked, "HTTP 422")
    for row in others:
        outbox.delivered(row, "HTTP 201", NOON)

    def kept() -> dict[str, bytes]:
        with reading(inbox.engine) as connection:
            rows = connection.execute(select(table.c.kind, table.c.key, table.c.payload)).all()
        return {f"{row.kind} {row.key}": row.payload for row in rows}

    week = KEPT.total_seconds()
    assert outbox.forget(after(week - 1)) == 0
    assert kept() == {
        "response_batch c-1": b'{"of": "c-1"}',
        "response_batch c-2": b'{"of": "c-2"}',
        "heatmap c-1": b"",
        "network_report run-1": b"",
    }
    assert (outbox.forget(after(week)), outbox.forget(after(week))) == (2, 0)
    assert kept() == {"response_batch c-1": b'{"of": "c-1"}', "response_batch c-2": b"", "heatmap c-1": b""}
    assert not outbox.keep_result(ChallengeId("c-2"), b"again", after(week))
    assert outbox.unpark(after(week)) == 1


def test_a_little_is_forgotten_at_a_time(inbox: Inbox, outbox: Outbox) -> None:
    for number in range(5):
        keep(inbox, outbox, f"c-{number}")
    for row in outbox.lease(NOON, 9):
        outbox.delivered(row, "HTTP 201", NOON)
    assert [outbox.forget(NOON + KEPT, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_refusals_are_listed_newest_first(inbox: Inbox, outbox: Outbox) -> None:
    for number in range(3):
        keep(inbox, outbox, f"c-{number}")
    for row in outbox.lease(NOON, 9):
        outbox.park(row, f"HTTP 422 of {row.key}")
    assert [(each.kind, each.key, each.detail) for each in outbox.refused(2)] == [
        ("response_batch", "c-2", "HTTP 422 of c-2"),
        ("response_batch", "c-1", "HTTP 422 of c-1"),
    ]
