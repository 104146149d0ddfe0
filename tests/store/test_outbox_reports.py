"""Reports replace each other, pictures make room, results go first; what was told long ago is let go."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import event, select

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import KEPT, Outbox, OutboxState
from loosh_pipeline.store.schema import outbox as table
from tests.builders import NOON
from tests.store.test_outbox import C1, after, keep, lease_one, stored


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


def test_the_newest_refused_report_of_a_kind_stays_to_be_seen(inbox: Inbox, outbox: Outbox) -> None:
    for number in range(3):
        reports(outbox, after(number), f"run-{number}")
        outbox.park(lease_one(outbox, after(number)), f"HTTP 422 of run-{number}")
    reports(outbox, after(10), "run-10")
    assert [each.detail for each in outbox.refused(9)] == ["HTTP 422 of run-2"]
    assert pending(outbox, after(10)) == ["run-10"], "a newer report is given its chance"
    assert outbox.unpark(after(11)) == 1


def test_the_same_words_are_not_told_again_because_a_refusal_was_forgotten(inbox: Inbox, outbox: Outbox) -> None:
    kind = DeliveryKind.SYBIL_REPORT
    reports(outbox, NOON, "digest-1", "digest-2", kind=kind)
    for row in outbox.lease(NOON, 9):
        outbox.park(row, "HTTP 422")
    assert reports(outbox, after(1), "digest-1", "digest-2", kind=kind) == 0
    assert len(outbox.refused(9)) == 2


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


def test_pictures_that_wait_take_no_room_from_refused_ones(
    inbox: Inbox, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.store.outbox.MOST_HEATMAPS", 2)
    for number in range(9):
        inbox.accept(ChallengeId(f"c-{number}"), {"id": f"c-{number}", "prompt": "hi"}, NOON)
        outbox.keep_heatmap(ChallengeId(f"c-{number}"), b"png", after(number))
        if number < 4:
            outbox.park(lease_one(outbox, after(number)), "HTTP 413")
    assert [each.key for each in outbox.refused(9)] == ["c-3", "c-2"]
    assert pending(outbox, after(9)) == ["c-7", "c-8"]


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


def test_a_shorter_wait_does_not_end_a_longer_one(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, outbox, "c-1")
    keep(inbox, outbox, "c-2")
    first, second = outbox.lease(NOON, 2)
    outbox.postpone(first, "429", NOON, 3600.0)
    outbox.postpone(second, "no connection", after(1.5), 15.0)
    keep(inbox, outbox, "c-3", after(2))
    assert not outbox.has_due(after(3599))
    outbox.postpone(second, "429", after(3590), 30.0)
    assert not outbox.has_due(after(3619))
    assert outbox.has_due(after(3620))


def test_w_13_what_was_tried_least_goes_first_though_results_go_before_the_rest(inbox: Inbox, outbox: Outbox) -> None:
    for number in range(3):
        keep(inbox, outbox, f"stuck-{number}", after(number - 100))
    for row in outbox.lease(NOON, 3):
        outbox.postpone(row, "not delivered within 25 s", NOON)
    reports(outbox, NOON, "run-1")
    keep(inbox, outbox, "fresh", after(900))
    keep(inbox, outbox, "fresher", after(901))
    order = [outbox.lease(after(1000), 1)[0].key for _ in range(6)]
    assert order == ["fresh", "fresher", "stuck-0", "stuck-1", "stuck-2", "run-1"]


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


def test_no_question_that_every_run_asks_reads_the_whole_table(inbox: Inbox, outbox: Outbox) -> None:
    if inbox.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite says so in one line; both have the same indexes")
    asked: list[tuple[str, object]] = []
    event.listen(inbox.engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    keep(inbox, outbox)
    outbox.keep_heatmap(C1, b"png", NOON)
    reports(outbox, NOON, "run-1")
    inbox.stalled(after(60), 9)
    outbox.has_due(NOON)
    outbox.lease(NOON, 1, C1)
    outbox.forget(NOON)
    with inbox.engine.connect() as connection:
        plans = {
            line.detail: statement
            for statement, values in list(asked)
            if "outbox" in statement
            for line in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        }
    assert any(line.startswith("SEARCH outbox") for line in plans)
    assert [(line, statement) for line, statement in plans.items() if line.startswith("SCAN outbox")] == []
