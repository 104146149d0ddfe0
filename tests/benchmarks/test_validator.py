"""What is said of those who were asked, what is given up, and what was scored again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import polars as pl
import pytest

from benchmarks import validator as measured
from benchmarks.figures import Load
from benchmarks.latency import ways_of
from benchmarks.validator import NotMeasured, Post, Validator, answers_of, scorings_of
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.store.frames import responses_frame
from tests import builders


def test_who_answered_how_long_and_with_whom_a_handshake_came_first() -> None:
    answered = [builders.response(text="one two three", handshake_ms=4.0), builders.response(text="one", hotkey="m2")]
    silent = builders.response(outcome=Outcome.TIMEOUT, text="", hotkey="m3", handshake_ms=6.0)
    frame = responses_frame([*answered, silent], asked_at=builders.NOON, metagraph_block=1)
    assert answers_of(frame) == {
        "asked": 3,
        "answered": 2,
        "words_mean": 2.0,
        "handshakes": 2,
        "handshake_p50_ms": 5.0,
    }
    assert answers_of(frame.filter(pl.col("outcome") == Outcome.EMPTY))["words_mean"] == 0.0


class Standing(Validator):
    """Of whose challenges only some are ever delivered."""

    def check(self) -> None:
        pass

    def report(self) -> str:
        return "the logs"

    def submitted(self) -> int:
        return len(self.said)

    def delivered(self) -> dict[str, float]:
        return dict.fromkeys(self.said, 3.0)

    def asked(self) -> dict[str, list[float]]:
        return {post.prompt: [2.0] for post in self.posts}


def standing(posted: int, delivered: list[str]) -> Standing:
    inbox = SimpleNamespace(get=lambda _: SimpleNamespace(scored_at=builders.NOON))
    posts = [Post(ChallengeId(f"c{number}"), f"prompt {number}", 1.0, 1.5) for number in range(posted)]
    none = cast(Any, None)
    return Standing(none, none, none, none, cast(Any, inbox), Path(), Load(), delivered, posts)


def test_what_is_never_delivered_is_given_up_and_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measured, "STANDSTILL_S", 0.02)
    validator = standing(3, ["c0", "c2"])
    looks: list[int] = []
    validator.drained(lambda: looks.append(1), every_s=0.005)
    assert looks
    assert validator.lost() == validator.given_up == {"c1"}
    assert "1 are given up: none delivered in 0.02 s\nthe logs" in capsys.readouterr().err
    assert [way.delivered_s for way in ways_of(validator, validator.posts)] == [3.0, 3.0]
    monkeypatch.setattr(measured, "STANDSTILL_S", 1e9)
    validator.drained()  # it is not waited for again


def test_without_any_delivery_there_are_no_times() -> None:
    validator = standing(2, [])
    with pytest.raises(NotMeasured, match="none of 2 challenges"):
        ways_of(validator, validator.posts)


def test_a_second_scoring_shows_though_it_writes_the_same_files(tmp_path: Path) -> None:
    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="challenges"))
    def consensus_scores() -> None: ...

    @dg.asset(partitions_def=consensus_scores.partitions_def)
    def heatmaps() -> None: ...

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("challenges", ["c1", "c2"])
        for key in ("c1", "c2", "c1"):
            assert dg.materialize([consensus_scores, heatmaps], instance=instance, partition_key=key).success
        assert scorings_of(tmp_path) == Counter(c1=2, c2=1)
