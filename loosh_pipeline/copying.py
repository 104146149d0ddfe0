"""Who copies whom over a window of rounds, and what the network is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.accusations import Accusation, accuse, network_report
from loosh_pipeline.scoring.pairs import Pair, PairHistory, pair_histories
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.store.frames import responses_of
from loosh_pipeline.store.score_tables import Window
from loosh_pipeline.store.tables import TableKey, Tables


@dataclass(frozen=True, slots=True)
class CopyEvidence:
    """The history of every pair that met, who is accused, and the record for the network; None when nobody is."""

    pairs: Mapping[Pair, PairHistory]
    accusations: tuple[Accusation, ...]
    report: dict[str, Any] | None


def copy_evidence(tables: Tables, window: Window, validator: Hotkey) -> CopyEvidence:
    """What a window says of copying. The texts told are those of the round in which an accused pair was most alike."""
    pairs = pair_histories((pair for each in window.rounds for pair in each.pairs), RobustProfile())
    accusations = accuse(pairs)
    texts = _texts(tables, window, {each.pair for each in accusations})
    return CopyEvidence(pairs, accusations, network_report(validator, accusations, pairs, texts=texts))


def _texts(tables: Tables, window: Window, accused: set[Pair]) -> dict[Pair, tuple[str, str]]:
    most: dict[Pair, tuple[float, ChallengeId]] = {}
    for each in window.rounds:
        for found in each.pairs:
            pair = (found.first, found.second)
            if pair in accused:
                most[pair] = max(most.get(pair, (-1.0, each.challenge_id)), (found.wording, each.challenge_id))
    answers = {challenge: _answers(tables, window, challenge) for challenge in {at for _, at in most.values()}}
    return {pair: (answers[at].get(pair[0], ""), answers[at].get(pair[1], "")) for pair, (_, at) in most.items()}


def _answers(tables: Tables, window: Window, challenge: ChallengeId) -> dict[Hotkey, str]:
    table = tables.read("miner_responses", TableKey.of(challenge, window.received_at[challenge]))
    return {response.hotkey: response.text for response in responses_of(table)}
