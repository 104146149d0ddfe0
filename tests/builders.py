"""One builder per domain object: valid by default, every field overridable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import polars as pl

from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.domain import (
    Block,
    Challenge,
    Emission,
    Hotkey,
    Metagraph,
    NetworkView,
    Neuron,
    Outcome,
    Response,
    WeightPlan,
)
from loosh_pipeline.scoring.pairs import PairEvidence
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import Measure, RoundMeasure, RoundScores, Score
from loosh_pipeline.store.score_frames import PAIRED_FROM, PAIRS, SCORES, SETTLED_FROM, pairs_frame, scores_frame
from loosh_pipeline.store.score_tables import WindowRows

GENESIS = "0x" + "9e" * 32
"""Block 0 of the chain that every snapshot is of."""
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def challenge(**fields: Any) -> Challenge:
    prompt = fields.get("prompt", "Why is the sky blue?")
    defaults = {
        "id": "c-1",
        "prompt": prompt,
        "model": "Qwen/Qwen2.5-32B-Instruct",
        "max_tokens": 256,
        "temperature": 0.7,
        "top_p": 0.95,
        "received_at": NOON,
        "original": {"id": fields.get("id", "c-1"), "prompt": prompt},
    }
    return Challenge(**(defaults | fields))


def neuron(uid: int = 1, **fields: Any) -> Neuron:
    defaults = {
        "uid": uid,
        "hotkey": f"hotkey-{uid}",
        "coldkey": f"coldkey-{uid}",
        "ip": "127.0.0.1",
        "port": 9000 + uid,
        "validator_permit": False,
        "stake": 1.0,
        "last_update": 0,
    }
    return Neuron(**(defaults | fields))


def metagraph(neurons: tuple[Neuron, ...] | None = None, **fields: Any) -> Metagraph:
    defaults = {
        "netuid": 78,
        "block": Block(100),
        "block_hash": "0x" + "ab" * 32,
        "spec_version": 461,
        "taken_at": NOON,
        "tempo_blocks": 360,
        "activity_cutoff_blocks": 5000,
        "weights_rate_limit_blocks": 5,
        "min_allowed_weights": 1,
        "weights_version_key": 0,
        "commit_reveal": False,
        "genesis_hash": GENESIS,
        "neurons": neurons if neurons is not None else tuple(neuron(uid) for uid in range(4)),
    }
    return Metagraph(**(defaults | fields))


def network_view(**fields: Any) -> NetworkView:
    """What the Challenge API said an hour before noon: one validator, and nothing against anybody."""
    defaults = {
        "taken_at": NOON - timedelta(hours=1),
        "validators": frozenset({Hotkey("validator")}),
        "sybil_scores": {},
        "priority_weights": {},
    }
    return NetworkView(**(defaults | fields))


def response(hotkey: str = "hotkey-1", **fields: Any) -> Response:
    defaults = {
        "challenge_id": "c-1",
        "hotkey": hotkey,
        "coldkey": "coldkey-1",
        "uid": 1,
        "ip": "127.0.0.1",
        "port": 9001,
        "outcome": Outcome.ANSWERED,
        "text": "Because air scatters blue light more than red light.",
        "elapsed_ms": 120.0,
    }
    return Response(**(defaults | fields))


def emission(hotkey: str = "hotkey-1", **fields: Any) -> Emission:
    defaults = {
        "hotkey": hotkey,
        "asked": 10,
        "answered": 10,
        "paid": 10,
        "mean_payout": 0.5,
        "emission": 0.5,
        "weight": 0.5,
    }
    return Emission(**(defaults | fields))


def submission_row(**fields: Any) -> SubmissionRow:
    """Plain weights of block 100, sent, with an outcome that is not known yet."""
    plan = WeightPlan(78, Block(100), {1: 0.75, 2: 0.25}, {1: "hotkey-1", 2: "hotkey-2"}, 0)
    defaults = {
        "id": 1,
        "hotkey": "hotkey-0",
        "plan": plan,
        "state": SubmissionState.SENDING,
        "commit_reveal": False,
        "spec_version": 461,
        "reveal_period_epochs": 1,
        "fence": 1,
        "created_at": NOON,
        "changed_at": NOON,
        "seen_block": Block(100),
        "seen_at": NOON,
        "extrinsic_hash": "0x" + "cd" * 32,
        "dies_at": Block(164),
    }
    return SubmissionRow(**(defaults | fields))


def shares(**by_hotkey: float) -> dict[Hotkey, float]:
    """`shares(a=0.25)`; underscores of names stand for hyphens."""
    return {Hotkey(name.replace("_", "-")): share for name, share in by_hotkey.items()}


def score(hotkey: str = "hotkey-1", payout: float = 1.0, **fields: Any) -> Score:
    """A scored answer with the given payout; for a failed ask give its `outcome`."""
    answered = fields.get("outcome", Outcome.ANSWERED) is Outcome.ANSWERED
    defaults = {
        "hotkey": hotkey,
        "outcome": Outcome.ANSWERED,
        "scored": answered,
        "reason": "" if answered else str(fields["outcome"]),
        "words": 40 if answered else 0,
        "elapsed_ms": 120.0 if answered else None,
        "relevance": 0.6 if answered else None,
        "relevance_gate": 0.3,
        "relevance_margin": 0.3 if answered else None,
        "meaning": 0.5 if answered else None,
        "coverage": 0.5 if answered else None,
        "wording": 0.2 if answered else None,
        "baseline": 0.0 if answered else None,
        "agreement": 0.4 if answered else None,
        "votes": 1.0,
        "vote_weight": 0.5,
        "copy_group_size": 1.0 if answered else None,
        "copies": (),
        "share": 1.0 if answered else 0.0,
        "speed_factor": 1.0,
        "score": payout / 10,
        "payout": payout,
    }
    return Score(**(defaults | fields))


def measure(**fields: Any) -> Measure:
    """What the network's method finds in a reply that is in consensus."""
    defaults = {
        "quality": 0.6,
        "quality_threshold": 0.35,
        "quality_margin": 0.25,
        "signal_relevance": 0.7,
        "signal_coherence": 0.5,
        "signal_coverage": 0.5,
        "signal_complexity": 0.4,
        "signal_density": 0.6,
        "signal_specificity": 0.2,
        "outlier": False,
        "cluster": 0,
        "entity_weight": 1.0,
        "length_kept": True,
        "in_consensus": True,
        "removed_by": "",
        "composite": 0.8,
        "emission": 0.7,
    }
    return Measure(**(defaults | fields))


def pair(first: str = "hotkey-1", second: str = "hotkey-2", **fields: Any) -> PairEvidence:
    """Two answers as alike as answers of two independent models."""
    defaults = {
        "first": first,
        "second": second,
        "similarity": 0.6,
        "meaning": 0.5,
        "coverage": 0.5,
        "coverage_back": 0.5,
        "wording": 0.2,
        "evidence": 1.0,
    }
    return PairEvidence(**(defaults | fields))


def round_measure(**fields: Any) -> RoundMeasure:
    defaults = {
        "consensus_score": 0.5,
        "consensus_mean": 0.4,
        "consensus_spread": 0.1,
        "consensus_reached": False,
        "garbage_alert": False,
    }
    return RoundMeasure(**(defaults | fields))


def round_scores(scores: tuple[Score, ...], **fields: Any) -> RoundScores:
    defaults = {
        "challenge_id": "c-1",
        "profile": "robust",
        "scorer_version": "v1",
        "context_digest": "",
        "scores": scores,
        "pairs": (),
        "measure": round_measure(),
        "typical_score": 0.1,
    }
    return RoundScores(**(defaults | fields))


def neutral_round(answers: Mapping[str, bool | Outcome], **fields: Any) -> RoundScores:
    """A round whose answers, True, are each worth a payout of 1 in any window; False is off topic, worth 0.

    What the peers say of each is just the agreement that a profile takes for granted, so no vote changes it.
    """
    granted = RobustProfile().prior_agreement
    likeness = dict.fromkeys(("meaning", "coverage", "coverage_back", "wording"), granted)
    scores = tuple(
        score(hotkey, 0.0, outcome=what)
        if isinstance(what, Outcome)
        else score(hotkey, 1.0)
        if what
        else score(hotkey, 0.0, relevance=0.1, relevance_margin=-0.2, scored=False, reason="off_topic")
        for hotkey, what in answers.items()
    )
    compared = sorted(hotkey for hotkey, what in answers.items() if not isinstance(what, Outcome))
    pairs = tuple(pair(first, second, **likeness) for first, second in combinations(compared, 2))
    return round_scores(scores, **{"pairs": pairs} | fields)


def window_rows(*rounds: RoundScores, came: Sequence[datetime] | None = None) -> WindowRows:
    """The rows of rounds that came a minute apart from noon on, or at the times given."""
    times = came or [NOON + timedelta(minutes=i) for i in range(len(rounds))]
    at = list(zip(rounds, times, strict=True))
    return WindowRows(
        pl.concat([pl.DataFrame(schema=SCORES), *(scores_frame(*each) for each in at)]).select(*SETTLED_FROM),
        pl.concat([pl.DataFrame(schema=PAIRS), *(pairs_frame(*each) for each in at)]).select(*PAIRED_FROM),
    )
