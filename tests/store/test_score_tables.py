"""Scores lie beside what they were made of: they come back bit for bit, and one version of each round counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given

from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.errors import StoreError
from loosh_pipeline.scoring import profile as profile_module
from loosh_pipeline.scoring.columns import columns_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import CODE_VERSION, RobustProfile, parameters_of, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.window import SettledScore, settle, settle_columns
from loosh_pipeline.store import score_tables as module
from loosh_pipeline.store.score_frames import scores_frame, scores_of, settled_frame
from loosh_pipeline.store.score_tables import SCORERS, SCORES, ScoreTables, WindowRows
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE
from tests.builders import NOON, measure, neutral_round, pair, round_scores, score, window_rows
from tests.scoring.rounds import Said, drawn_round, windows

MODEL = "ab" * 32
OTHER_MODEL = "cd" * 32
TODAY = RobustProfile()
OLDER, OLDEST = RobustProfile(relevance_gate=0.4), RobustProfile(relevance_gate=0.5)
MINUTE = timedelta(minutes=1)


class Clock:
    """A clock that goes on by a minute with every look at it: each scorer comes into use after the one before."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self, zone: Any = None) -> datetime:
        self.at += MINUTE
        return self.at.astimezone(zone)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "datetime", clock)
    return clock


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


@pytest.fixture
def stored(tables: Tables) -> ScoreTables:
    return ScoreTables(tables)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def full_round(**fields: Any) -> RoundScores:
    """A round in which every kind of row occurs."""
    scores = (
        score("hotkey-2", 0.1 + 0.2, copies=("hotkey-1", "hotkey-9"), measure=measure(emission=1 / 3)),
        score("hotkey-1", 5e-324, measure=measure(cluster=None, quality=None, removed_by="quality", outlier=True)),
        score("hotkey-3", 0.0, outcome=Outcome.TIMEOUT),
        score("hotkey-0", 0.0, outcome=Outcome.EMPTY, measure=measure(in_consensus=False, entity_weight=None)),
    )
    pairs = (pair("hotkey-1", "hotkey-2", similarity=-1 / 3, coverage_back=1 / 7, same_address=True),)
    return round_scores(scores, **{"pairs": pairs, "typical_score": 1e-17} | fields)


def keep(
    stored: ScoreTables,
    result: RoundScores,
    profile: ScoringProfile = TODAY,
    *,
    model: str = MODEL,
    at: datetime = NOON,
) -> RoundScores:
    """Write a round as scored under a profile."""
    result = replace(result, profile=profile.name, scorer_version=scorer_version(profile, model))
    stored.write(TableKey.of(result.challenge_id, at), result, profile, model, at)
    return result


def keep_neutral(stored: ScoreTables, profile: ScoringProfile = TODAY, name: str = "c-1", **how: Any) -> RoundScores:
    return keep(
        stored, neutral_round({"a": True, "b": Outcome.TIMEOUT}, challenge_id=ChallengeId(name)), profile, **how
    )


def window(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection, profile: ScoringProfile = TODAY, **how: Any
) -> WindowRows:
    """Of the last day; the same when it is read again, from the copy that the first look left."""
    first, second = (stored.window_rows(connection, profile, NOON - timedelta(hours=24), **how) for _ in range(2))
    assert in_order(first) == in_order(second)
    return first


def in_order(rows: WindowRows) -> list[Any]:
    return [sorted(frame.rows(), key=repr) for frame in (rows.scores, rows.pairs)]


def versions(found: WindowRows) -> dict[str, str]:
    return dict(found.scores.select("challenge_id", "scorer_version").unique().iter_rows())


def test_a_round_comes_back_exactly(stored: ScoreTables, connection: duckdb.DuckDBPyConnection) -> None:
    result = keep(stored, full_round())
    assert stored.read(TableKey.of("c-1", NOON), result.scorer_version) == result
    assert in_order(window(stored, connection)) == in_order(window_rows(result))


@pytest.mark.parametrize(
    "fields",
    [
        {"measure": None},
        {"pairs": ()},
        {"typical_score": 0.0, "context_digest": "ff" * 32},
        {"scores": (score("a", 0.0, outcome=Outcome.UNREACHABLE),), "pairs": (), "measure": None},
    ],
)
def test_whatever_is_missing_from_a_round_is_missing_when_it_comes_back(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection, fields: Mapping[str, Any]
) -> None:
    result = keep(stored, replace(full_round(), **fields))
    assert stored.read(TableKey.of("c-1", NOON), result.scorer_version) == result
    assert in_order(window(stored, connection)) == in_order(window_rows(result))


@given(windows(max_rounds=2))
def test_any_scored_round_comes_back_and_settles_to_the_same(rounds: list[Any]) -> None:
    scored = [score_round(each, ScoringContext.empty(24), TODAY) for each in rounds]
    back = [scores_of(scores_frame(each, NOON), module.pairs_frame(each, NOON)) for each in scored]
    assert back == scored
    assert settle(back, TODAY) == settle(scored, TODAY)


def test_every_row_of_a_round_tells_when_its_challenge_came_and_by_which_version(
    tables: Tables, stored: ScoreTables
) -> None:
    at = NOON + timedelta(milliseconds=7)
    result = keep(stored, full_round(), at=at)
    for name, rows in ((SCORES, 4), (module.PAIRS, 1)):
        frame = tables.read(name, TableKey.of("c-1", at, result.scorer_version))
        about = frame.select("challenge_id", "scorer_version", "received_at")
        assert about.rows() == [("c-1", result.scorer_version, at)] * rows


def test_a_round_nobody_was_asked_in_is_no_round(stored: ScoreTables) -> None:
    result = keep(stored, round_scores(()))
    with pytest.raises(StoreError, match="nobody was asked; materialize consensus_scores"):
        stored.read(TableKey.of("c-1", NOON), result.scorer_version)


def test_a_round_that_was_not_scored_names_what_to_materialize(stored: ScoreTables) -> None:
    with pytest.raises(StoreError, match="materialize consensus_scores for this partition first"):
        stored.read(TableKey.of("c-1", NOON), scorer_version(TODAY, MODEL))
    with pytest.raises(StoreError, match="materialize embeddings for this partition first"):
        stored.model_digest(TableKey.of("c-1", NOON))


def test_a_round_that_has_scores_has_its_pairs(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Tables.write

    def logged(self: Tables, asset: str, key: TableKey, frame: pl.DataFrame) -> Any:
        written.append(asset)
        return write(self, asset, key, frame)

    monkeypatch.setattr(Tables, "write", logged)
    keep(ScoreTables(tables), full_round())
    assert written == [module.PAIRS, SCORES]


@pytest.mark.parametrize("profile", [TODAY, OLDER, NetworkProfile()])
def test_a_scorer_is_described_once_with_all_that_its_version_stands_for(
    tables: Tables, stored: ScoreTables, profile: ScoringProfile
) -> None:
    first = keep_neutral(stored, profile)
    keep_neutral(stored, profile, "c-2", at=NOON + timedelta(days=3))
    row = tables.latest(SCORERS).row(0, named=True)
    assert json.loads(row.pop("parameters")) == parameters_of(profile)
    assert row == {
        "scorer_version": first.scorer_version,
        "profile": profile.name,
        "code_version": CODE_VERSION,
        "model_digest": MODEL,
        "first_used_at": NOON + MINUTE,
    }
    again = type(profile).from_mapping(parameters_of(profile))
    assert scorer_version(again, row["model_digest"]) == row["scorer_version"]
    assert len(list(tables.newest_first(SCORERS))) == 1


def test_of_a_round_scored_twice_todays_parameters_count(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection
) -> None:
    first = keep_neutral(stored, TODAY)
    keep_neutral(stored, OLDER)
    assert versions(window(stored, connection)) == {"c-1": first.scorer_version}


def test_without_todays_the_version_that_came_into_use_last_counts(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection
) -> None:
    keep_neutral(stored, OLDER)
    second = keep_neutral(stored, OLDEST)
    keep_neutral(stored, OLDER)  # scored again: that is not when it came into use
    assert versions(window(stored, connection)) == {"c-1": second.scorer_version}


def test_every_round_counts_by_its_own_version(stored: ScoreTables, connection: duckdb.DuckDBPyConnection) -> None:
    old = keep_neutral(stored, OLDER, "c-1")
    keep_neutral(stored, OLDER, "c-2")
    new = keep_neutral(stored, TODAY, "c-2")
    assert versions(window(stored, connection)) == {"c-1": old.scorer_version, "c-2": new.scorer_version}


def test_going_back_to_older_parameters_picks_their_version_again(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection
) -> None:
    old, new = keep_neutral(stored, OLDER), keep_neutral(stored, TODAY)
    assert versions(window(stored, connection, TODAY)) == {"c-1": new.scorer_version}
    assert versions(window(stored, connection, OLDER)) == {"c-1": old.scorer_version}
    assert versions(window(stored, connection, OLDEST)) == {"c-1": new.scorer_version}


def test_of_two_embedding_models_under_the_same_parameters_the_later_counts(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection
) -> None:
    keep_neutral(stored, TODAY, model=MODEL)
    later = keep_neutral(stored, TODAY, model=OTHER_MODEL)
    assert versions(window(stored, connection)) == {"c-1": later.scorer_version}


def test_parameters_of_older_code_are_not_todays(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for each in (module, profile_module):
            patch.setattr(each, "CODE_VERSION", CODE_VERSION - 1)
        former = keep_neutral(stored, TODAY)
    later = keep_neutral(stored, OLDER)
    assert former.scorer_version != scorer_version(TODAY, MODEL)
    assert versions(window(stored, connection)) == {"c-1": later.scorer_version}


def test_rows_of_another_profile_are_never_read(stored: ScoreTables, connection: duckdb.DuckDBPyConnection) -> None:
    network = NetworkProfile()
    robust = keep_neutral(stored, TODAY)
    shadow = keep_neutral(stored, network)
    keep_neutral(stored, network, "c-2")
    assert versions(window(stored, connection, TODAY)) == {"c-1": robust.scorer_version}
    assert set(versions(window(stored, connection, network))) == {"c-1", "c-2"}
    assert versions(window(stored, connection, network))["c-1"] == shadow.scorer_version


@pytest.mark.parametrize(
    ("age", "counts"),
    [
        (timedelta(hours=24), True),
        (timedelta(hours=24, milliseconds=1), False),
        (timedelta(hours=30), False),
        (timedelta(days=9), False),
    ],
)
def test_rounds_before_the_window_are_never_read(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection, age: timedelta, counts: bool
) -> None:
    keep_neutral(stored, TODAY, "c-new")
    keep_neutral(stored, TODAY, "c-old", at=NOON - age)
    assert ("c-old" in versions(window(stored, connection))) == counts


def test_a_window_without_rounds_is_empty(stored: ScoreTables, connection: duckdb.DuckDBPyConnection) -> None:
    assert in_order(window(stored, connection)) == [[], []]
    keep_neutral(stored, NetworkProfile())
    assert in_order(window(stored, connection)) == [[], []]


def test_pairs_that_nobody_asks_for_are_neither_read_nor_kept(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection, tables: Tables
) -> None:
    result = keep(stored, full_round())
    found = window(stored, connection, pairs=False)
    assert in_order(found) == [in_order(window_rows(result))[0], []]
    assert {each.name.partition(".")[0] for each in tables.files(CACHE, NOON.date())} == {SCORES}
    assert window(stored, connection).pairs.height == 1


def test_times_of_a_window_are_in_utc_whatever_the_zone_of_the_machine(
    stored: ScoreTables, connection: duckdb.DuckDBPyConnection
) -> None:
    keep_neutral(stored, at=NOON)
    connection.execute("SET TimeZone = 'Pacific/Auckland'")
    (at,) = window(stored, connection).scores["received_at"].unique()
    assert (at, at.utcoffset()) == (NOON, timedelta(0))


def test_one_connection_serves_several_windows(stored: ScoreTables, connection: duckdb.DuckDBPyConnection) -> None:
    keep_neutral(stored, NetworkProfile())
    found = [versions(window(stored, connection, each)) for each in (NetworkProfile(), TODAY, NetworkProfile())]
    assert [len(each) for each in found] == [1, 0, 1]


def test_settled_scores_are_columns_by_their_names() -> None:
    rounds = scored_drawn(
        drawn_round(k, [Said(60, 0.1, likeness) for likeness in (0, 0, 1.0)], f"c-{k}") for k in (1, 2)
    )
    columns = columns_of(rounds)
    frame = settled_frame(columns, settle_columns(columns, TODAY))
    rows = [SettledScore(**{**row, "sources": tuple(row["sources"])}) for row in frame.iter_rows(named=True)]
    assert tuple(rows) == settle(rounds, TODAY).scores
    assert any(row.sources for row in rows)
    nothing = columns_of(())
    assert settled_frame(nothing, settle_columns(nothing, TODAY)).schema == frame.schema


def scored_drawn(rounds: Iterable[Any]) -> list[RoundScores]:
    return [score_round(each, ScoringContext.empty(24), TODAY) for each in rounds]


def test_the_newest_rows_of_a_round_are_found_without_a_look_at_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(str(tmp_path))
    stored, key = ScoreTables(tables), TableKey.of("ours", NOON)
    for profile in (OLDER, TODAY, OLDEST):  # today's parameters count, whatever came into use last
        stored.write(key, _scored("ours", profile), profile, MODEL, NOON)
    listed: list[str] = []
    files = tables.files
    monkeypatch.setattr(tables, "files", lambda asset, day: listed.append(asset) or files(asset, day))
    rows = stored.newest_rows(key, TODAY)
    assert rows is not None
    assert rows["scorer_version"][0] == scorer_version(TODAY, MODEL)
    assert stored.newest_rows(key, NetworkProfile()) is None
    assert stored.newest_rows(TableKey.of("another", NOON), TODAY) is None
    assert set(listed) == {SCORERS}


def _scored(name: str, profile: RobustProfile) -> RoundScores:
    version = scorer_version(profile, MODEL)
    return round_scores(
        (score("5Miner"),), challenge_id=ChallengeId(name), profile=profile.name, scorer_version=version
    )
