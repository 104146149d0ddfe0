"""The network's existing method, taken as a measure of every round, whichever profile pays.

Heatmap, narrative and the consensus score that the Challenge API is told speak of it. What it would pay is a figure
here; it becomes pay only under the `network` profile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.evaluate import NetworkEvaluation, ReplyEvaluation, evaluate
from loosh_pipeline.scoring.network.profile import DEFAULT_PROFILE, NetworkProfile
from loosh_pipeline.scoring.network.round import NetworkRound, Node, Reply
from loosh_pipeline.scoring.network.text import prompt_components, sentences
from loosh_pipeline.scoring.result import Measure, RoundMeasure
from loosh_pipeline.scoring.round import REPLIED, Round, RoundResponse
from loosh_pipeline.scoring.vectors import Vectors

MAX_MS = 1e12
"""Thirty years: the sum of such times is finite."""


def network_measure(
    round_: Round, profile: NetworkProfile = DEFAULT_PROFILE
) -> tuple[RoundMeasure | None, dict[Hotkey, Measure]]:
    """The measure of a round and of each reply it is taken of; (None, {}) without vectors of the prompt.

    A reply whose vectors or time cannot be used is left out; the others are measured as if it had not come. Times that
    are all 0, of which no share can be made, leave the round without a measure, but not without scores.
    """
    if not round_.prompt.strip() or not _readable(round_, [round_.prompt, *prompt_components(round_.prompt)]):
        return None, {}
    seen = network_round(round_, profile)
    if sum(reply.response_time_ms for reply in seen.replies) <= 0 and len(seen.replies) > 1:
        return None, {}
    found = evaluate(seen, profile)
    return _round_measure(found), {reply.hotkey: _measure(reply, profile) for reply in found.replies}


def network_round(round_: Round, profile: NetworkProfile = DEFAULT_PROFILE) -> NetworkRound:
    """The replies of a round that can be measured, by time of arrival, then uid, then hotkey."""
    usable = [response for response in round_.responses if usable_reply(round_, response, profile)]
    ordered = sorted(usable, key=lambda each: (_time_ms(each), each.uid, each.hotkey))
    return NetworkRound(
        prompt=round_.prompt,
        replies=tuple(Reply(each.uid, each.hotkey, _time_ms(each), each.text) for each in ordered),
        nodes={each.hotkey: Node(each.ip, each.coldkey) for each in ordered if each.ip or each.coldkey},
        vectors=round_.text_vectors,
    )


def usable_reply(round_: Round, response: RoundResponse, profile: NetworkProfile = DEFAULT_PROFILE) -> bool:
    """Whether a response is a reply of a known time, with a unit row for every text that is read of it."""
    if response.outcome not in REPLIED or not 0 <= _time_ms(response) <= MAX_MS:
        return False
    return _readable(round_, [response.text, *sentences(response.text, profile.min_sentence_words)])


def _readable(round_: Round, texts: Sequence[str]) -> bool:
    rows = [round_.text_vectors.get(text) for text in texts]
    return all(row is not None and row.shape == round_.prompt_vector.shape and _is_unit(row) for row in rows)


def _is_unit(row: Vectors) -> bool:
    # NaN fails both comparisons; rows are as stored, to 16 bits
    return bool(np.abs(row).max(initial=0.0) <= 1.01 and math.sqrt(row.dot(row)) <= 1.01)


def _time_ms(response: RoundResponse) -> float:
    """The whole call's time, as the network measures it; NaN when unknown."""
    known = response.total_ms if response.total_ms is not None else response.elapsed_ms
    return math.nan if known is None else known


def _round_measure(found: NetworkEvaluation) -> RoundMeasure:
    return RoundMeasure(
        consensus_score=found.consensus_score,
        consensus_mean=found.mean,
        consensus_spread=found.spread,
        consensus_reached=found.reached,
        garbage_alert=found.garbage_alert,
    )


def _measure(reply: ReplyEvaluation, profile: NetworkProfile) -> Measure:
    quality = reply.quality
    return Measure(
        quality=quality.value if quality else None,
        quality_threshold=profile.quality_threshold,
        quality_margin=quality.value - profile.quality_threshold if quality else None,
        signal_relevance=quality.relevance if quality else None,
        signal_coherence=quality.coherence if quality else None,
        signal_coverage=quality.coverage if quality else None,
        signal_complexity=quality.complexity if quality else None,
        signal_density=quality.density if quality else None,
        signal_specificity=quality.specificity if quality else None,
        outlier=reply.outlier,
        cluster=reply.cluster,
        entity_weight=reply.entity_weight,
        length_kept=reply.length_kept,
        in_consensus=reply.in_consensus,
        removed_by=reply.removed_by,
        composite=reply.composite,
        emission=reply.emission,
    )
