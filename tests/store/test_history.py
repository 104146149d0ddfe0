"""Which days are compacted, which are forgotten, and what keeps being read alike."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from loosh_pipeline.store import compaction as compaction_module
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.compaction_plan import KEPT
from loosh_pipeline.store.history import Forgotten, compact_history, forget_history
from loosh_pipeline.store.parts import Whole
from loosh_pipeline.store.score_tables import SCORERS
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE
from tests.builders import NOON
from tests.store.cached import ROUNDS, TODAY, keep, read, rows

FRAME = pl.DataFrame({"a": [1]})
NOW = NOON + timedelta(days=10)


def put(tables: Tables, asset: str, *names: str, day: date = TODAY) -> None:
    for name in names:
        tables.write(asset, TableKey(day, name), FRAME)


def alone(tables: Tables, asset: str) -> list[str]:
    return [each.name.removesuffix(".parquet") for day in tables.days(asset) for each in tables.originals(asset, day)]


def compact(tables: Tables, times: int = 2) -> None:
    for turn in range(times):
        compact_history(tables, 2, lambda turn=turn: NOW + turn * KEPT, lambda: False)


def test_days_that_are_over_are_compacted_the_oldest_first(tables: Tables) -> None:
    days = [TODAY + timedelta(days=each) for each in range(9)]
    for day in days:
        put(tables, "scores", f"c-{day.day}", day=day)
        put(tables, "answers", f"c-{day.day}", day=day)
    put(tables, CACHE, "scores")
    put(tables, SCORERS, "v1")

    turns = iter([False] * 4 + [True] * 99)
    first = compact_history(tables, 2, lambda: NOW, lambda: next(turns))
    assert (first.until, first.days, first.days_left, first.finished) == (days[7], 2, 16, False)
    assert [len(tables.closed.parts(asset, days[0])) for asset in ("answers", "scores")] == [1, 1]

    compact(tables)
    assert tables.open_days("scores") == tables.open_days("answers") == [days[8]]
    assert (alone(tables, CACHE), alone(tables, SCORERS)) == (["scores"], ["v1"])
    again = compact_history(tables, 2, lambda: NOW + 2 * KEPT, lambda: False)
    assert (again.days, again.days_left, again.done.packed, again.finished) == (0, 0, 0, True)


def test_what_nothing_can_be_done_with_is_no_reason_to_go_on(tables: Tables) -> None:
    put(tables, "scores", "c-1")
    tables.write("scores", TableKey(TODAY, "odd"), pl.DataFrame({"file": ["x"]}))
    tables.objects.put(tables.path("scores", TableKey(TODAY, "broken")), b"PAR1 no table", replace=True)
    found = [compact_history(tables, 2, lambda turn=turn: NOW + turn * KEPT, lambda: False) for turn in range(3)]
    assert [(each.done.left, each.done.stuck, each.finished) for each in found] == [
        (3, 2, False),
        (2, 2, True),
        (2, 2, True),
    ]


def test_one_day_that_cannot_be_compacted_keeps_no_other(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    for back in range(3):
        put(tables, "scores", "c-1", day=TODAY - timedelta(days=back))
    whole, broken = compaction_module.PartWriter.finish, iter([True, False, False])

    def finish(self: compaction_module.PartWriter, *arguments: object) -> bytes:
        if next(broken):
            raise OSError(28, "No space left on device")
        return whole(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(compaction_module.PartWriter, "finish", finish)
        found = compact_history(tables, 2, lambda: NOW, lambda: False)
    assert (found.done.parts, found.done.problems) == (
        2,
        [f"scores of {TODAY - timedelta(days=2)}: [Errno 28] No space left on device"],
    )


def test_windows_by_which_no_weights_were_set_are_dropped(tables: Tables) -> None:
    tomorrow = TODAY + timedelta(days=1)
    put(tables, "settled_scores", "20260102T010000000000-a", "20260102T020000000000-b", "20260102T230000000000-c")
    put(tables, "settled_scores", "20260103T010000000000-d", day=tomorrow)
    put(tables, "weight_proposals", "20260102T010001000000-1", "20260102T020001000000-2", "20260102T230001000000-3")
    put(tables, "weight_proposals", "20260103T010001000000-4", day=tomorrow)
    put(tables, "weights", "20260102T010100000000-1")
    put(tables, "weights", "20260103T000100000000-2", day=tomorrow)
    compact(tables)
    kept = [key.name[-1] for key in tables.newest_first("settled_scores")]
    assert kept == ["d", "c", "a"]
    assert len(list(tables.newest_first("weights"))) == 2


def test_a_window_stays_whose_weights_came_after_the_next_window(tables: Tables) -> None:
    put(tables, "settled_scores", "20260102T100000000000-a", "20260102T103000000000-b", "20260102T104000000000-c")
    put(tables, "settled_scores", "20260103T090000000000-d", day=TODAY + timedelta(days=1))
    put(tables, "weight_proposals", "20260102T100100000000-1")
    put(tables, "weights", "20260102T103100000000-1")
    compact(tables)
    assert [key.name[-1] for key in tables.newest_first("settled_scores")] == ["d", "a"]


def test_old_days_are_deleted_but_for_what_still_counts(tables: Tables, caplog: pytest.LogCaptureFixture) -> None:
    days = [NOW.date() - timedelta(days=each) for each in (40, 35, 33, 3)]
    success = pl.DataFrame({"success": [True], "submitted_at": [NOON]})
    for day in days:
        for asset in ("consensus_scores", "metagraph", "tried_scores", "weight_proposals"):
            put(tables, asset, f"{day:%Y%m%d}T000000000000-1", day=day)
    for day, taken in ((days[0], True), (days[1], True), (days[2], False), (days[3], False)):
        key = TableKey(day, f"{day:%Y%m%d}T000000000000-1")
        tables.write("weights", key, success.with_columns(success=pl.lit(taken)))
    put(tables, SCORERS, "v1", day=date(2020, 1, 1))
    assert forget_history(tables, None, NOW) == Forgotten()
    compact(tables)

    assert forget_history(tables, 30, NOW).deleted == [
        f"{asset} of {day}"
        for day, assets in (
            (days[0], ("consensus_scores", "metagraph", "tried_scores", "weight_proposals", "weights")),
            (days[1], ("consensus_scores", "metagraph", "tried_scores")),
            (days[2], ("consensus_scores", "tried_scores")),
        )
        for asset in assets
    ]
    assert tables.days("consensus_scores") == days[3:]
    assert tables.days("metagraph") == days[2:], "the newest before what is kept says how things were when it begins"
    assert tables.days("weights") == days[1:], "the chain holds those of the second day"
    assert tables.days(SCORERS) == [date(2020, 1, 1)]
    assert f"all consensus_scores of {days[0]} were deleted, as RETAIN_TABLES_DAYS is 30" in caplog.text
    assert forget_history(tables, 30, NOW) == Forgotten()


def run(day: date) -> str:
    return f"{day:%Y%m%d}T100000000000-1"


def test_what_the_standing_weights_were_made_of_stays_however_often_weights_failed_since(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.store.weighing.MOST_ATTEMPTS", 3)
    days = [NOW.date() - timedelta(days=each) for each in range(60, 40, -1)]
    for day in days:
        for asset in ("emissions", "settled_scores", "sources", "rounds_left_out", "policy_acts"):
            put(tables, asset, run(day), day=day)
    for day in (days[2], days[6]):
        put(tables, "weight_proposals", run(day).replace("T10", "T11"), day=day)
    for day in days:
        frame = pl.DataFrame({"success": [day == days[4]], "submitted_at": [NOON]})
        tables.write("weights", TableKey(day, run(day).replace("T10", "T12")), frame)
    made = {asset: tables.days(asset) for asset in tables.assets()}
    assert forget_history(tables, 30, NOW).problems == []
    for asset in ("weights", "weight_proposals", "emissions", "settled_scores", "sources", "rounds_left_out"):
        expected = [*days[2:6], days[6] if asset == "weight_proposals" else days[-1]]
        assert tables.days(asset) == [each for each in expected if each in made[asset]], asset


def test_the_newest_context_of_each_model_stays(tables: Tables) -> None:
    days = [NOW.date() - timedelta(days=each) for each in range(40, 34, -1)]
    for day, model in zip(days, "aababb", strict=True):
        tables.write("scoring_context", TableKey(day, run(day), model), FRAME)
    forget_history(tables, 30, NOW)
    assert tables.days("scoring_context") == [days[3], days[5]]


def test_what_cannot_be_forgotten_is_told_and_keeps_nothing_else(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, remove_day = NOW.date() - timedelta(days=40), Tables.remove_day
    for asset in ("embeddings", "miner_responses", "tried_scores"):
        put(tables, asset, "c-1", day=old)

    def denied(self: Tables, asset: str, day: date) -> None:
        if asset == "miner_responses":
            raise RuntimeError("AccessDenied")
        remove_day(self, asset, day)

    monkeypatch.setattr(Tables, "remove_day", denied)
    found = forget_history(tables, 30, NOW)
    assert found.deleted == [f"embeddings of {old}", f"tried_scores of {old}"]
    assert found.problems == [f"miner_responses of {old}: RuntimeError: AccessDenied"]
    monkeypatch.setattr(Tables, "remove_day", lambda *_: None)
    assert forget_history(tables, 30, NOW).deleted == [], "what is still there is not said to be deleted"
    monkeypatch.undo()
    assert forget_history(tables, 30, NOW, lambda: True) == Forgotten(finished=False)
    assert forget_history(tables, 30, NOW).deleted == [f"miner_responses of {old}"]


def test_parts_are_merged_though_no_file_lies_alone(tables: Tables) -> None:
    for number in range(12):
        made = [whole(TableKey(TODAY, f"c-{each:02}", f"v{number % 6}"), FRAME) for each in range(30)]
        write_part(tables, "consensus_scores", TODAY, made, NOON)
    first = compact_history(tables, 2, lambda: NOW, lambda: False)
    assert (first.days, first.finished, first.done.problems) == (1, False, [])
    assert (first.done.parts, first.done.replaced) == (1, 6), (
        "half were replaced by the same names; the rest are merged"
    )
    second = compact_history(tables, 2, lambda: NOW + KEPT, lambda: False)
    assert (second.finished, second.done.replaced) == (True, 0)
    assert len(tables.closed.parts("consensus_scores", TODAY)) == 1
    assert len(list(tables.newest_first("consensus_scores"))) == 180
    assert compact_history(tables, 2, lambda: NOW + 2 * KEPT, lambda: False).days == 0


def test_an_error_of_any_kind_keeps_no_other_day(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    for asset in ("answers", "scores"):
        put(tables, asset, "c-1")
    add, broken = compaction_module.PartWriter.add, iter([True, False])

    def boom(self: compaction_module.PartWriter, table: Whole) -> None:
        if next(broken):
            raise ZeroDivisionError("of a library's own")
        add(self, table)

    monkeypatch.setattr(compaction_module.PartWriter, "add", boom)
    found = compact_history(tables, 2, lambda: NOW, lambda: False)
    assert (found.done.parts, found.done.problems) == (
        1,
        [f"answers of {TODAY}: ZeroDivisionError: of a library's own"],
    )


def test_copies_of_a_window_stay_right_while_its_days_are_compacted(tables: Tables, opened: list[str]) -> None:
    for number in range(4):
        keep(tables, f"c-{number}", float(number))
    expected = read(tables)
    names = sorted(opened)
    for turn in range(3):
        compact_history(tables, 2, lambda turn=turn: NOW + turn * KEPT, lambda: False)
        assert read(tables) == expected
    assert sorted(opened) == names, "nothing was read again"
    assert tables.originals(ROUNDS, TODAY) == []

    keep(tables, "c-2", 7.0, 8.0)
    assert read(tables) == sorted(rows("c-0", 0.0) + rows("c-1", 1.0) + rows("c-2", 7.0, 8.0) + rows("c-3", 3.0))
    tables.remove_day(CACHE, TODAY)
    assert read(tables) == sorted(rows("c-0", 0.0) + rows("c-1", 1.0) + rows("c-2", 7.0, 8.0) + rows("c-3", 3.0))
    tables.remove(ROUNDS, TableKey(TODAY, "c-1"))
    assert [row[0] for row in read(tables)] == ["c-0", "c-2", "c-2", "c-3"]
