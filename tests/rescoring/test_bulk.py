"""Many stored rounds scored again: the same with and without processes, in bounded steps, and nothing lost over one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.devnet.stored_rounds import Sample
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.rescoring import bulk, scoring
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.comparing import compared, rank_correlation
from loosh_pipeline.rescoring.rounds import AT_ONCE, Found, StoredRound, Unscorable, of_challenges, of_day
from loosh_pipeline.rescoring.scoring import score_batch
from loosh_pipeline.rescoring.summary import Summary
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.store.score_tables import PAIRS, SCORES, TRIED_PAIRS, TRIED_SCORES, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import NOON
from tests.rescoring.kept import DAY, DIGEST, ROBUST, TRIED, keep, rescored


def test_processes_say_what_one_does(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "KEPT_AT_ONCE", AT_ONCE)
    names = [f"c-{n:03}" for n in range(2 * AT_ONCE + 5)]
    keep(tables, inbox, drawn, names)
    alone = rescored(tmp_path, tables, inbox, ROBUST, 0)
    kept = {key.file: frame for key, frame in tables.each(SCORES, DAY)}
    assert [each.id for each in alone] == names, "all, in the order of their names"
    assert all(each.written for each in alone)
    again = rescored(tmp_path, tables, inbox, ROBUST, 2)
    assert not any(each.written for each in again), "to the last bit what was there"
    tried = rescored(tmp_path, tables, inbox, TRIED, 2)
    assert {each.against for each in tried} == {scorer_version(ROBUST, DIGEST)}
    for asset in (SCORES, PAIRS, TRIED_SCORES, TRIED_PAIRS):
        assert len(list(tables.each(asset, DAY))) == len(names)
    for file, frame in kept.items():
        assert tables.read(SCORES, TableKey.named(DAY, file)).equals(frame)


def test_rows_that_differ_stay_and_are_told_of_until_they_are_to_be_replaced(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, [f"c-{n:03}" for n in range(25)])
    rescored(tmp_path, tables, inbox, ROBUST, 0)
    key = TableKey(DAY, "c-003", scorer_version(ROBUST, DIGEST))
    right = tables.read(SCORES, key)
    paid = right.with_columns(payout=right["payout"] * 2)
    tables.write(SCORES, key, paid)
    again = rescored(tmp_path, tables, inbox, ROBUST, 0)
    assert {each.id: each.differs for each in again if each.differs} == {"c-003": ("payout",)}
    assert not any(each.written for each in again)
    assert tables.read(SCORES, key).equals(paid), "what paid stays"
    summary = Summary()
    for each in again:
        summary.add(each)
    told = summary.figures()
    assert (told["differs"], told["differing"], told["differing_columns"]) == (1, ["c-003"], {"payout": 1})

    scorer = Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 0, replace=True)
    (replaced,) = [
        each for each in scorer.run(of_day(tables, inbox, DAY)) if isinstance(each, Rescored) and each.differs
    ]
    assert replaced.written
    assert tables.read(SCORES, key).equals(right)


def test_rows_and_pairs_that_are_missing_or_broken_come_back(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, [f"c-{n:03}" for n in range(25)])
    rescored(tmp_path, tables, inbox, ROBUST, 0)
    version = scorer_version(ROBUST, DIGEST)
    pairs, scores = TableKey(DAY, "c-003", version), TableKey(DAY, "c-004", version)
    before = tables.read(PAIRS, pairs), tables.read(SCORES, scores)
    tables.remove(PAIRS, pairs)
    tables.remove(SCORES, scores)
    again = rescored(tmp_path, tables, inbox, ROBUST, 0)
    assert [each.id for each in again if each.written] == ["c-003", "c-004"]
    tables.write(PAIRS, pairs, before[0])
    Path(tables.path(PAIRS, pairs)).write_bytes(b"nonsense")
    assert [each.id for each in rescored(tmp_path, tables, inbox, ROBUST, 0) if each.written] == ["c-003"]
    assert tables.read(PAIRS, pairs).equals(before[0])
    assert tables.read(SCORES, scores).equals(before[1])


def test_scores_that_cannot_be_read_are_compared_with_nothing_and_stay(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, [f"c-{n:03}" for n in range(25)])
    rescored(tmp_path, tables, inbox, ROBUST, 0)
    part = tables.closed.parts(SCORES, DAY)[0].path
    whole = Path(part).read_bytes()
    Path(part).write_bytes(b"no part at all")
    for profile, written in ((ROBUST, False), (TRIED, True)):
        found = rescored(tmp_path, tables, inbox, profile, 0)
        assert {each.against for each in found} == {None}
        assert all(part in each.remark for each in found)
        assert {each.written for each in found} == {written}
    Path(part).write_bytes(whole)  # as from a backup
    assert not any(each.written or each.remark for each in rescored(tmp_path, tables, inbox, ROBUST, 0))


def test_a_part_that_cannot_be_opened_costs_what_lies_in_it(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    rounds = keep(tables, inbox, drawn, ["a", "b", "c", "d"])
    for pair in (rounds[:2], rounds[2:]):
        write_part(tables, "embeddings", DAY, [whole(each.key, each.vectors()) for each in pair], NOON)
    for each in rounds:
        Path(tables.path("embeddings", each.key)).unlink()
    part = tables.closed.parts("embeddings", DAY)[0].path
    Path(part).write_bytes(b"nonsense")
    summary = Summary()
    for found in Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 0).run(of_day(tables, inbox, DAY)):
        summary.add(found)
    assert summary.rescored == 2
    assert {each.name for each in summary.unscorable} == {"a", "b"}
    assert all(part in each.reason for each in summary.unscorable)
    assert summary.reasons == {"a part of tables that cannot be read": 2}, "by kind, without paths"


def test_challenges_of_the_day_without_tables_are_told_of(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    rounds = keep(tables, inbox, drawn, ["a", "Ä gone", "of the day after"])
    for asset in ("miner_responses", "embeddings"):
        tables.remove(asset, rounds[1].key)
        tables.remove(asset, rounds[2].key)
    inbox.accept(ChallengeId("waits"), rounds[0].request, NOON)
    with inbox.engine.begin() as connection:
        after = challenges.update().where(challenges.c.id == rounds[2].id)
        connection.execute(after.values(received_at=NOON + timedelta(days=1)))
    found = list(Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 0).run(of_day(tables, inbox, DAY)))
    told = {each.name: each.reason for each in found if isinstance(each, Unscorable)}
    assert told == {"Ä gone": "its tables are gone", "waits": "it is not scored yet"}


def test_payouts_that_are_no_numbers_are_never_kept(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tables, inbox, drawn, ["a", "b"])
    scored = scoring.score_stored

    def strange(stored: StoredRound, *how: Any) -> Any:
        result = scored(stored, *how)
        wrong = replace(result.scores.scores[0], payout=float("inf"))
        scores = replace(result.scores, scores=(wrong, *result.scores.scores[1:]))
        return replace(result, scores=scores) if stored.id == "a" else result

    monkeypatch.setattr(scoring, "score_stored", strange)
    found = list(Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 0).run(of_day(tables, inbox, DAY)))
    (wrong,) = [each for each in found if isinstance(each, Unscorable)]
    assert (wrong.name, wrong.kind) == ("a", "its payouts are no finite numbers")
    assert [key.name for key, _ in tables.each(SCORES, DAY)] == ["b"]


def test_what_was_scored_is_kept_when_nobody_wants_more(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, [f"c-{n:03}" for n in range(3 * AT_ONCE)])
    inbox.accept(ChallengeId("waits"), {"id": "waits"}, NOON)
    before = threading.active_count()
    with closing(Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 1).run(_first_missing(tables, inbox))) as found:
        assert isinstance(next(found), Unscorable)
    assert len(list(tables.each(SCORES, DAY))) == len(list(tables.each(PAIRS, DAY))) == 0
    batches = of_day(tables, inbox, DAY)
    with pytest.raises(RuntimeError, match="cancelled"), closing(batches):
        list(Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 1).run(_cancelled(batches, 2)))
    assert len(list(tables.each(SCORES, DAY))) == len(list(tables.each(PAIRS, DAY))) >= AT_ONCE
    assert threading.active_count() <= before


def _first_missing(tables: Tables, inbox: Inbox) -> Iterator[list[Found | Unscorable]]:
    yield [Unscorable("nobody", "no such challenge was accepted")]
    yield from of_day(tables, inbox, DAY)


def _cancelled(batches: Iterator[list[Found | Unscorable]], after: int) -> Iterator[list[Found | Unscorable]]:
    yield from islice(batches, after)
    raise RuntimeError("cancelled")


def test_names_that_sort_otherwise_than_their_files_are_not_mixed_up(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    names = ["a", "a-1", "a_1", "a-1-b", "b", "Ä ~ no file's name", "0"]
    keep(tables, inbox, drawn, names)
    for _ in range(2):
        assert {each.id for each in rescored(tmp_path, tables, inbox, ROBUST, 0)} == set(names)
        assert {each.id for each in rescored(tmp_path, tables, inbox, TRIED, 0)} == set(names)


def test_a_table_that_cannot_be_read_costs_nothing_but_its_round(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    rounds = keep(tables, inbox, drawn, ["a", "b", "c", "d", "e", "f"])
    Path(tables.path("embeddings", rounds[1].key)).write_bytes(b"nonsense")
    Path(tables.path("miner_responses", rounds[2].key)).unlink()
    Path(tables.path("embeddings", rounds[3].key)).unlink()
    broken = rounds[4].vectors().drop("kind")
    tables.write("embeddings", rounds[4].key, broken)
    summary = Summary()
    for each in Rescoring(str(tmp_path / "tables"), ROBUST, ROBUST, 0).run(of_day(tables, inbox, DAY)):
        summary.add(each)
    reasons = {each.name: each.reason for each in summary.unscorable}
    assert set(reasons) == {"b", "c", "d", "e"}
    assert "is no readable table" in reasons["b"]
    assert (reasons["c"], reasons["d"]) == ("no table miner_responses", "no table embeddings")
    assert "kind" in reasons["e"]
    assert (summary.figures()["rescored"], summary.figures()["unscorable"]) == (2, 4)


def test_single_challenges_are_found_with_their_scores(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, ["a", "b"])
    rescored(tmp_path, tables, inbox, ROBUST, 0)
    (found,) = of_challenges(tables, inbox, ["b", "nobody", "a"])
    by_name = {each.round.id if isinstance(each, Found) else each.name: each for each in found}
    assert by_name["nobody"] == Unscorable("nobody", "no such challenge was accepted")
    for name in ("a", "b"):
        each = by_name[name]
        assert isinstance(each, Found)
        assert [scores["challenge_id"][0] for scores in each.scores] == [name]


def test_contexts_are_those_of_the_moment(tables: Tables) -> None:
    stored = ScoreTables(tables)
    for hours, rounds in ((-30, 1), (-2, 2), (0, 3), (1, 4)):
        built_at = NOON + timedelta(hours=hours)
        stored.write_context(ScoringContext.of(rounds, {"word": rounds}, np.zeros(4)), DIGEST, built_at, "run-1")
    stored.write_context(ScoringContext.of(9, {}, np.zeros(4)), "other model", NOON - timedelta(hours=1), "run-1")
    contexts = Contexts(tables)
    for hours in (-40, -30, -29, -2, -1, 0, 0.5, 2, 30, 0.5):
        at = NOON + timedelta(hours=hours)
        for model in (DIGEST, "other model", "none"):
            assert contexts.at(at, model, 4).digest == stored.context_at(at, model, 4).digest


def test_a_batch_of_nothing_is_nothing(tables: Tables) -> None:
    none: list[StoredRound] = []
    found = score_batch(none, Contexts(tables).at, ROBUST)
    assert (found.rounds, found.unscorable, found.scores.height, found.pairs.height) == ((), (), 0, 0)


@pytest.mark.parametrize(
    ("before", "after", "moved", "mean", "ranks"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, 0.0, 0.0, None),
        ({"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 3.0}, 0.5, 0.5, -1.0),
        ({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, 1.0, 0.5, None),
        ({"a": 1.0}, {"b": 1.0}, 1.0, 1.0, -1.0),
        ({}, {}, 0.0, 0.0, None),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 30.0, "b": 20.0, "c": 10.0}, 0.0, 0.0, 1.0),
    ],
)
def test_what_moves(
    before: dict[str, float], after: dict[str, float], moved: float, mean: float, ranks: float | None
) -> None:
    found = compared(before, after)
    assert (found.moved, found.mean_move) == pytest.approx((moved, mean))
    assert found.rank_correlation == (None if ranks is None else pytest.approx(ranks))


def test_ties_share_their_rank() -> None:
    found = rank_correlation(np.array([1.0, 1.0, 2.0, 5.0]), np.array([0.0, 1.0, 1.0, 2.0]))
    assert found == pytest.approx(0.8333333333)
