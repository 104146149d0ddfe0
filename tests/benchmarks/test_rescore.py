"""The benchmark of scoring again, with few challenges: that it measures what it says, not how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.figures import Load
from benchmarks.rescore import PAYING, TRIED, history, measure, scoring
from loosh_pipeline.devnet.stored_rounds import ASKED, samples
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import profile_of
from loosh_pipeline.store.score_tables import PAIRS, SCORERS, SCORES, TRIED_PAIRS, TRIED_SCORERS, TRIED_SCORES
from loosh_pipeline.store.tables import Tables


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_challenges_are_scored_twice_and_both_are_kept(tmp_path: Path) -> None:
    rounds = history(70, 2, samples(HashingEmbedder(), 3))
    figures = scoring(tmp_path, rounds, Load())
    assert figures["scored_challenges"] == 70
    assert min(figures["scoring_per_min"], figures["first_scoring_per_min"], figures["scoring_cpu_ms"]) > 0
    tables = Tables(str(tmp_path / "tables"))
    digest = HashingEmbedder().digest
    tried = profile_of(PAYING, TRIED)
    shelves = {SCORES: profile_of(PAYING), PAIRS: profile_of(PAYING), TRIED_SCORES: tried, TRIED_PAIRS: tried}
    for asset, profile in shelves.items():
        kept = [key.version for day in tables.days(asset) for key, _ in tables.each(asset, day)]
        assert kept == [scorer_version(profile, digest)] * 70
        assert not [day for day in tables.days(asset) if tables.originals(asset, day)], "many are one part"
    assert len(list(tables.newest_first(SCORERS))) == len(list(tables.newest_first(TRIED_SCORERS))) == 1


def test_made_challenges_are_all_different_and_the_same_each_time() -> None:
    drawn = samples(HashingEmbedder(), 2)
    once, again = (history(12, 3, drawn) for _ in range(2))
    assert [each.id for each in once] == [each.id for each in again]
    assert len({each.id for each in once}) == 12
    assert len({each.key.day for each in once}) == 3
    assert all(each.responses().equals(other.responses()) for each, other in zip(once, again, strict=True))
    assert {each.responses().height for each in once} == {ASKED}
    assert len({tuple(each.responses()["hotkey"]) for each in once}) == 12
    assert set(once[0].vectors()["hotkey"]) == {"", *once[0].responses()["hotkey"]}


@pytest.mark.e2e
@pytest.mark.scale
def test_a_running_validator_shows_all_of_them() -> None:
    figures = measure(40, 2, 2)
    assert (figures["measured_challenges"], figures["backfill_runs"]) == (40, 2)
    assert figures["backfill_10k_min"] > 0
