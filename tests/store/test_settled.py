"""What the last settlement of a window made of one round."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store import settled
from loosh_pipeline.store.score_frames import SETTLED
from loosh_pipeline.store.settled import SETTLED_SCORES, TIME, SettledRound, SettledRounds
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import NOON

LOOKBACK_H = 24.0


def settle(tables: Tables, at: datetime, payout: float, *challenges: str) -> None:
    rows: list[dict[str, Any]] = [
        {"challenge_id": each, "hotkey": "hotkey-1", "payout": payout, "share": 1.0, "trust": 1.0, "sources": ["h-2"]}
        for each in challenges
    ]
    tables.write(SETTLED_SCORES, TableKey.of(f"{at:{TIME}}-0a1b2c3d", at), pl.DataFrame(rows, schema=dict(SETTLED)))


def of(tables: Tables, challenge_id: str = "c-1") -> SettledRound | None:
    return SettledRounds(tables).of(ChallengeId(challenge_id), NOON, LOOKBACK_H)


def test_the_last_settlement_that_looked_back_so_far_counts(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    assert of(tables) is None
    settle(tables, NOON + timedelta(hours=1), 0.5, "c-0", "c-1")
    settle(tables, NOON + timedelta(hours=23), 0.7, "c-1", "c-2")
    settle(tables, NOON + timedelta(hours=30), 0.9, "c-2")
    found = of(tables)
    assert found is not None
    assert found.at == NOON + timedelta(hours=23)
    (answer,) = found.answers.values()
    assert (answer.payout, answer.sources) == (0.7, ("h-2",))


def test_only_its_rows_are_read_and_they_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(str(tmp_path))
    settle(tables, NOON + timedelta(hours=1), 0.5, *(f"c-{n}" for n in range(1000)))
    read: list[int] = []
    of_files = Tables.read_files

    def counted(self: Tables, *about: Any) -> pl.DataFrame:
        rows = of_files(self, *about)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(Tables, "read_files", counted)
    monkeypatch.setattr(settled, "KEPT", 2)
    rounds = SettledRounds(tables)
    for number in (1, 1, 2, 1, 3, 2):
        assert rounds.of(ChallengeId(f"c-{number}"), NOON, LOOKBACK_H) is not None
    assert read == [1, 1, 1, 1]


def test_one_that_was_left_out_was_settled_by_none(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    settle(tables, NOON - timedelta(hours=1), 0.5, "c-1")
    assert of(tables) is None
    settle(tables, NOON + timedelta(hours=1), 0.5, "c-0")
    assert of(tables) is None
