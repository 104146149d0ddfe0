"""Who copies whom over a window of rounds, and what the network is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.payouts import PairedRows, paired_rows
from loosh_pipeline.scoring.accusations import Accusation, accuse, network_report
from loosh_pipeline.scoring.pairs import Pair, PairHistory, histories_of
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.store.frames import responses_of
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.tables import TableKey, Tables


@dataclass(frozen=True, slots=True)
class CopyEvidence:
    """The history of every pair that met, who is accused, and the record for the network; None when nobody is.

    `left_out`: the rounds that say nothing of it, as `paired_rows` says.
    """

    pairs: Mapping[Pair, PairHistory]
    accusations: tuple[Accusation, ...]
    report: dict[str, Any] | None
    left_out: tuple[ChallengeId, ...]


def copy_evidence(tables: Tables, rows: WindowRows, validator: Hotkey) -> CopyEvidence:
    """What a window says of copying. The texts told are those of the round in which an accused pair was most alike."""
    paired = paired_rows(rows)
    pairs = histories_of(paired.columns.pairs, paired.columns.hotkeys, RobustProfile()).by_pair()
    accusations = accuse(pairs)
    texts = _texts(tables, paired, [each.pair for each in accusations])
    report = network_report(validator, accusations, pairs, texts=texts)
    return CopyEvidence(pairs, accusations, report, paired.left_out)


def _texts(tables: Tables, rows: PairedRows, accused: Sequence[Pair]) -> dict[Pair, tuple[str, str]]:
    of_accused = pl.DataFrame(accused, schema={"first": pl.String, "second": pl.String}, orient="row")
    met = rows.pairs.join(of_accused, on=["first", "second"], how="semi").sort("wording", "challenge_id")
    most = met.group_by("first", "second").agg(pl.col("challenge_id").last())
    at = rows.scores.select("challenge_id", "received_at").unique()
    rounds = at.join(most, on="challenge_id", how="semi").iter_rows()
    answers = {challenge: _answers(tables, TableKey.of(challenge, received_at)) for challenge, received_at in rounds}
    return {
        (Hotkey(first), Hotkey(second)): (answers[challenge].get(first, ""), answers[challenge].get(second, ""))
        for first, second, challenge in most.iter_rows()
    }


def _answers(tables: Tables, key: TableKey) -> dict[str, str]:
    return {response.hotkey: response.text for response in responses_of(tables.read("miner_responses", key))}
