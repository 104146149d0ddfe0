"""A round from replies to emissions, in the network's order of events.

Replies in test mode are left out and paid 0. One reply left is paid 1 if it concerns the prompt. Two or more are
scored for quality, find consensus, and are paid by it and by speed, whether in consensus or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.consensus import Candidates, Consensus, find_consensus
from loosh_pipeline.scoring.network.emission import emissions, time_shares
from loosh_pipeline.scoring.network.entities import entity_weights
from loosh_pipeline.scoring.network.profile import DEFAULT_PROFILE, NetworkProfile
from loosh_pipeline.scoring.network.quality import Quality, score_quality
from loosh_pipeline.scoring.network.removals import IRRELEVANT
from loosh_pipeline.scoring.network.round import NetworkRound, Reply
from loosh_pipeline.scoring.network.similarity import unit_rows
from loosh_pipeline.scoring.network.text import prompt_components, sentences
from loosh_pipeline.scoring.text import TEST_MODE, is_test_mode


@dataclass(frozen=True, slots=True)
class ReplyEvaluation:
    """One reply: what was measured, why it is out of consensus, and what it is paid. None where nothing was measured.

    A reply in test mode has no figure at all; the only reply of a round has no quality, cluster or composite, and
    is in no consensus.
    """

    uid: int
    hotkey: Hotkey
    test_mode: bool = False
    quality: Quality | None = None
    outlier: bool = False
    """Flagged as a local outlier; it stays if outliers were better than the rest."""
    cluster: int | None = None
    entity_weight: float | None = None
    """Weight of its vote; None when no node is known, which counts as 1."""
    length_kept: bool | None = None
    """Verdict of the length filter on a survivor. The filter is off: it removes nobody."""
    in_consensus: bool = False
    removed_by: str = ""
    """"" or test_mode, relevance, quality, outlier, better_outliers, cluster: the first filter that removed it."""
    composite: float | None = None
    time_share: float | None = None
    """1 - its response time / the sum of all."""
    emission: float = 0.0


@dataclass(frozen=True, slots=True)
class NetworkEvaluation:
    """One round. `consensus_score` = `mean` + `spread_weight` · `spread`; a lone reply's is what it is paid.

    `reached` and `garbage_alert` change no pay. `replies` are in order of arrival.
    """

    consensus_score: float
    mean: float
    spread: float
    reached: bool
    weighted_score: float | None
    """Plain mean of the similarities in consensus; None without consensus or with nobody in it."""
    garbage_alert: bool
    best: Hotkey | None
    """Whose emission is largest, the first of equals; None when nobody is paid."""
    replies: tuple[ReplyEvaluation, ...]


def evaluate(round_: NetworkRound, profile: NetworkProfile = DEFAULT_PROFILE) -> NetworkEvaluation:
    """Score one round. No reply, or none out of test mode, is a round of score 0.

    Raises ValueError for a blank prompt, for a vector that is missing or not finite, naming whose, and for response
    times of which no share can be made: the caller leaves out what cannot be scored.
    """
    valid = [reply for reply in round_.replies if not is_test_mode(reply.text)]
    if not valid:
        return _assembled(round_, [], None, 0.0, profile)
    if not round_.prompt.strip():
        raise ValueError("the prompt is blank; replies to it cannot be scored")
    if len(valid) == 1:
        return _lone(round_, valid[0], profile)
    check_vectors(round_, valid, profile)
    return _several(round_, valid, profile)


def check_vectors(round_: NetworkRound, replies: Iterable[Reply], profile: NetworkProfile) -> None:
    """Raises ValueError for a vector of the prompt, a reply or one of its sentences that is missing or not finite."""
    _check_rows(round_, [round_.prompt, *prompt_components(round_.prompt)], "the prompt")
    for reply in replies:
        _check_rows(round_, [reply.text, *sentences(reply.text, int(profile.min_sentence_words))], _whose(reply))


def _whose(reply: Reply) -> str:
    return f"the reply of uid {reply.uid}, hotkey {reply.hotkey}"


def _check_rows(round_: NetworkRound, texts: Sequence[str], whose: str) -> None:
    for text in texts:
        row = round_.vectors.get(text)
        if row is None:
            raise ValueError(f"no vector of {text[:60]!r}, part of {whose}; embed every text of texts_to_embed")
        if not np.isfinite(row).all():
            raise ValueError(
                f"the vector of {text[:60]!r}, part of {whose}, is not finite; leave that out, or embed it"
            )


def _lone(round_: NetworkRound, reply: Reply, profile: NetworkProfile) -> NetworkEvaluation:
    _check_rows(round_, [round_.prompt], "the prompt")
    _check_rows(round_, [reply.text], _whose(reply))
    prompt, answer = unit_rows(np.stack([round_.vectors[round_.prompt], round_.vectors[reply.text]]))
    paid = 1.0 if float(prompt @ answer) >= profile.single_relevance_gate else 0.0
    row = ReplyEvaluation(reply.uid, reply.hotkey, removed_by="" if paid else IRRELEVANT, emission=paid)
    return _assembled(round_, [row], None, paid, profile)


def _several(round_: NetworkRound, valid: Sequence[Reply], profile: NetworkProfile) -> NetworkEvaluation:
    votes = entity_weights([reply.hotkey for reply in valid], round_.nodes, profile)
    quality = score_quality(round_.prompt, [reply.text for reply in valid], round_.vectors, profile)
    candidates = Candidates(
        rows=np.stack([round_.vectors[reply.text] for reply in valid]),
        quality=np.array([one.value for one in quality], dtype=np.float64),
        votes=votes,
        words=np.array([len(reply.text.split()) for reply in valid], dtype=np.int64),
    )
    consensus = find_consensus(candidates, profile)
    weights = votes.tolist() if round_.nodes else [None] * len(valid)
    return _assembled(
        round_, _paid_rows(valid, quality, weights, consensus, profile), consensus, consensus.score, profile
    )


def _paid_rows(
    valid: Sequence[Reply],
    quality: Sequence[Quality],
    weights: Sequence[float | None],
    consensus: Consensus,
    profile: NetworkProfile,
) -> list[ReplyEvaluation]:
    times = [reply.response_time_ms for reply in valid]
    inside = [not reason for reason in consensus.removed_by]
    paid = emissions(times, consensus.score, inside, consensus.composite, profile)
    shares = time_shares(times)
    return [
        ReplyEvaluation(
            uid=reply.uid,
            hotkey=reply.hotkey,
            quality=quality[i],
            outlier=consensus.outlier[i],
            cluster=consensus.cluster[i],
            entity_weight=weights[i],
            length_kept=consensus.length_kept[i],
            in_consensus=inside[i],
            removed_by=consensus.removed_by[i],
            composite=consensus.composite[i],
            time_share=float(shares[i]),
            emission=float(paid[i]),
        )
        for i, reply in enumerate(valid)
    ]


def _assembled(
    round_: NetworkRound,
    evaluated: Sequence[ReplyEvaluation],
    consensus: Consensus | None,
    score: float,
    profile: NetworkProfile,
) -> NetworkEvaluation:
    """The evaluation, with the replies in test mode put back in their places."""
    rows = iter(evaluated)
    replies = tuple(
        ReplyEvaluation(reply.uid, reply.hotkey, test_mode=True, removed_by=TEST_MODE)
        if is_test_mode(reply.text)
        else next(rows)
        for reply in round_.replies
    )
    best = max(replies, key=lambda reply: reply.emission, default=None)
    return NetworkEvaluation(
        consensus_score=score,
        mean=consensus.mean if consensus else score,
        spread=consensus.spread if consensus else 0.0,
        reached=score > profile.consensus_threshold,
        weighted_score=consensus.weighted_score if consensus else None,
        garbage_alert=consensus.garbage_alert if consensus else False,
        best=best.hotkey if best and best.emission > 0 else None,
        replies=replies,
    )
