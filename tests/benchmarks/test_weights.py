"""The benchmark of weights on a served chain, with a few rounds: that it measures what it says, not how fast it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.weights import ASKED, PROFILE, TimedChain, drawn_round, measure, miner_hotkeys, write_rounds
from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import Tables
from tests.builders import NOON, metagraph


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the benchmark sets is undone."""
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
        monkeypatch.delenv(name.upper())
    yield
    get_settings.cache_clear()


@pytest.mark.e2e
@pytest.mark.usefixtures("own_environment")
@pytest.mark.scale
def test_all_rounds_are_planned_from_and_the_chain_holds_the_weights() -> None:
    figures = measure(rounds=40, repeat=1)
    assert (figures["rounds"], figures["rows"], figures["miners"]) == (40, 280, 256)
    assert all(figures[name] > 0 for name in ("plan_s", "plan_cold_s", "submit_s", "peak_rss_mb"))
    assert {"emissions", "weight_proposal", "weights", "weight_receipts"} <= figures["steps_s"].keys()


def test_drawn_rounds_are_repeatable_and_of_honest_miners() -> None:
    hotkeys = miner_hotkeys()
    one, two = (score_round(drawn_round(7, hotkeys), ScoringContext.empty(384), PROFILE) for _ in range(2))
    assert one == two
    assert len({score.hotkey for score in one.scores}) == ASKED
    assert sum(score.payout > 0 for score in one.scores) >= ASKED - 2
    assert not any(score.copies for score in one.scores)


def test_rounds_are_written_as_the_product_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    tables = Tables(str(tmp_path))
    write_rounds(str(tmp_path), miner_hotkeys(), NOON, timedelta(minutes=1), range(3))
    files = {asset: tables.files(asset, NOON.date()) for asset in (SCORES, PAIRS)}
    assert [len(found) for found in files.values()] == [3, 3]
    scores = pl.concat(pl.read_parquet(path) for path in (tmp_path / SCORES).rglob("*.parquet"))
    assert scores.height == 3 * ASKED
    assert sorted(set(scores["received_at"])) == [NOON + timedelta(minutes=i) for i in range(3)]


def test_every_call_of_the_chain_is_timed() -> None:
    chain = TimedChain(FakeChain(metagraph(), Hotkey("hotkey-1")))
    assert chain.identity() == "hotkey-1"
    waited_s = chain.waited_s
    assert waited_s > 0
    chain.snapshot(78)
    assert chain.waited_s > waited_s
