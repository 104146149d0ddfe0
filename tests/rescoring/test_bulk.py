"""Many stored rounds scored again: the same with and without processes, in bounded steps, and nothing lost over one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from loosh_pipeline.devnet.stored_rounds import Sample, StoredChallenge, insert_rows, samples
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.rescoring import bulk
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.comparing import compared, rank_correlation
from loosh_pipeline.rescoring.processes import ScoringProcesses
from loosh_pipeline.rescoring.rounds import AT_ONCE, Found, StoredRound, Unscorable, of_challenges, of_day
from loosh_pipeline.rescoring.scoring import score_batch
from loosh_pipeline.rescoring.summary import Summary
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import NOON

DIGEST = HashingEmbedder().digest
ROBUST, TRIED = profile_of("robust"), profile_of("robust", {"power": 5.0})
DAY: date = NOON.date()


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def drawn() -> list[Sample]:
    return samples(HashingEmbedder(), 2, asked=3)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/inbox.db")
    yield inbox
    inbox.engine.dispose()


def keep(tables: Tables, inbox: Inbox, drawn: list[Sample], names: list[str]) -> list[StoredChallenge]:
    """As files of their own, in the order given."""
    rounds = [
        StoredChallenge(n, ChallengeId(name), NOON + timedelta(seconds=n), drawn[n % len(drawn)])
        for n, name in enumerate(names)
    ]
    insert_rows(inbox.engine, rounds)
    for each in rounds:
        tables.write("miner_responses", each.key, each.responses())
        tables.write("embeddings", each.key, each.vectors())
    return rounds


def rescored(tmp_path: Path, tables: Tables, inbox: Inbox, profile: ScoringProfile, processes: int) -> list[Rescored]:
    found = list(Rescoring(str(tmp_path / "tables"), profile, ROBUST, processes).run(of_day(tables, inbox, DAY)))
    assert all(isinstance(each, Rescored) for each in found), found
    return [each for each in found if isinstance(each, Rescored)]


def test_processes_say_what_one_does(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "KEPT_AT_ONCE", AT_ONCE)
    names = [f"c-{n:03}" for n in range(2 * AT_ONCE + 5)]
    keep(tables, inbox, drawn, names)
    alone = rescored(tmp_path, tables, inbox, ROBUST, 0)
    kept = {key.file: frame for key, frame in tables.each(SCORES, DAY)}
    assert [each.id for each in alone] == names, "all, in the order of their names"
    assert all(each.changed for each in alone)
    again = rescored(tmp_path, tables, inbox, ROBUST, 2)
    assert not any(each.changed for each in again), "to the last bit what was there"
    tried = rescored(tmp_path, tables, inbox, TRIED, 2)
    assert {each.against for each in tried} == {scorer_version(ROBUST, DIGEST)}
    assert len(list(tables.each(SCORES, DAY))) == len(list(tables.each(PAIRS, DAY))) == 2 * len(names)
    for file, frame in kept.items():
        assert tables.read(SCORES, TableKey.named(DAY, file)).equals(frame)


def test_rows_that_differ_are_written_over_by_files_of_their_own(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, [f"c-{n:03}" for n in range(25)])
    rescored(tmp_path, tables, inbox, ROBUST, 0)
    key = TableKey(DAY, "c-003", scorer_version(ROBUST, DIGEST))
    right = tables.read(SCORES, key)
    tables.write(SCORES, key, right.with_columns(payout=right["payout"] * 2))
    again = rescored(tmp_path, tables, inbox, ROBUST, 0)
    assert [each.id for each in again if each.changed] == ["c-003"]
    assert tables.read(SCORES, key).equals(right)


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


def test_a_process_that_dies_says_so(tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]) -> None:
    keep(tables, inbox, drawn, ["a"])
    rounds = [each.round for batch in of_day(tables, inbox, DAY) for each in batch if isinstance(each, Found)]
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 1) as processes:
        assert len(processes.submit(rounds).result().rounds) == 1
        (process,) = processes._started
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(ServiceError, match="ended with -9 over 1 rounds from a on"):
            processes.submit(rounds).result()


def test_processes_end_with_whoever_asks(tmp_path: Path, tables: Tables) -> None:
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 2) as processes:
        started = list(processes._started)
    assert [process.returncode for process in started] == [0, 0]


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
