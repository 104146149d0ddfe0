"""Who is asked: a weighted draw among the miners that are there, which an auditor can repeat from its record.

Every candidate has a clock that rings at

    key = -ln(u) / weight,    u = 1 - h / 2**53,

where h is the first 53 bits, as a big-endian number, of sha256("{challenge id}:{block hash}:{hotkey}"). Those that ring
first are asked. That is a draw without replacement in which, at every pick, each candidate left is taken with
probability weight / sum of weights left (Efraimidis and Spirakis, 2006), and any language with a logarithm can repeat
it. A weight of 0 gives the key -ln(u) behind all others: such a miner fills a place that nobody else takes.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from loosh_pipeline.domain import (
    AvailabilityTable,
    Block,
    ChallengeId,
    Coldkey,
    Hotkey,
    Metagraph,
    NetworkView,
    Neuron,
    Uid,
)
from loosh_pipeline.errors import LooshError
from loosh_pipeline.inclusion import inclusion_probabilities
from loosh_pipeline.policy.filters import listed_validators, serving_miners
from loosh_pipeline.wire.addresses import canonical_ip

UNKNOWN_WEIGHT = 1.0
"""Of a miner that the Challenge API does not speak of, or speaks of in no usable number."""


class TooFewMiners(LooshError):
    """Fewer miners are there than a round needs to mean anything."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A serving miner in the draw.

    `available` is what it said when it was last looked for, None when nobody looked; False keeps it out of the draw.
    `draw_probability` is that of one pick, `inclusion_probability` that of being asked. `remark` says what was odd.
    """

    hotkey: Hotkey
    coldkey: Coldkey
    uid: Uid
    ip: str
    port: int
    shared_endpoint: bool
    available: bool | None
    priority_weight: float
    key: float
    remark: str = ""
    draw_probability: float = 0.0
    inclusion_probability: float = 0.0
    selected: bool = False


@dataclass(frozen=True, slots=True)
class Draw:
    """All that decided who is asked one challenge. Candidates are in order of uid."""

    challenge_id: ChallengeId
    metagraph_block: Block
    block_hash: str
    minimum: int
    maximum: int
    view_taken_at: datetime | None
    availability_taken_at: datetime | None
    candidates: tuple[Candidate, ...]

    @property
    def selected(self) -> tuple[Candidate, ...]:
        return tuple(one for one in self.candidates if one.selected)


def draw_miners(
    metagraph: Metagraph,
    own_hotkey: Hotkey,
    challenge_id: ChallengeId,
    *,
    at: datetime,
    minimum: int,
    maximum: int,
    view: NetworkView | None = None,
    availability: AvailabilityTable | None = None,
) -> Draw:
    """Up to `maximum` of the miners that are there at a time, weighted by what the Challenge API says of them.

    Who is a validator is told as the policy of pay tells it: whoever may be paid may be asked.
    Without `availability` (none was taken lately) all serving miners count as there, and so does one that was not
    looked for at its present address. Raises TooFewMiners below `minimum`.
    """
    serving = serving_miners(metagraph, own_hotkey, listed_validators(view, at))
    seed = _seed(challenge_id, metagraph.block_hash)
    candidates = _candidates(sorted(serving, key=lambda neuron: neuron.uid), seed, view, availability)
    here = sum(one.available is not False for one in candidates)
    if here < minimum:
        raise TooFewMiners(
            f"{_count_here(here, serving, availability)} on subnet {metagraph.netuid} at block {metagraph.block}, "
            f"MIN_MINERS is {minimum}; the challenge is kept and tried again"
        )
    return Draw(
        challenge_id=challenge_id,
        metagraph_block=metagraph.block,
        block_hash=metagraph.block_hash,
        minimum=minimum,
        maximum=maximum,
        view_taken_at=view.taken_at if view else None,
        availability_taken_at=availability.taken_at if availability else None,
        candidates=_drawn(candidates, maximum),
    )


def repeat_draw(rows: Sequence[Mapping[str, Any]]) -> frozenset[Hotkey]:
    """Who must have been asked, computed again from the rows of a `selections` table alone."""
    order = sorted(
        (_order(row["priority_weight"], _row_key(row), row["hotkey"]), row["hotkey"])
        for row in rows
        if row["available"] is not False
    )
    return frozenset(Hotkey(hotkey) for _, hotkey in order[: rows[0]["maximum"] if rows else 0])


def _row_key(row: Mapping[str, Any]) -> float:
    return _key(_seed(row["challenge_id"], row["block_hash"]), row["hotkey"], row["priority_weight"])


def _candidates(
    serving: Sequence[Neuron], seed: str, view: NetworkView | None, availability: AvailabilityTable | None
) -> list[Candidate]:
    """Everyone who serves, before the draw."""
    endpoints = Counter(_endpoint(neuron) for neuron in serving)
    said = availability.by_hotkey() if availability else {}
    candidates = []
    for neuron in serving:
        weight, remark = _weight(view, neuron.hotkey)
        found = said.get(neuron.hotkey)
        there = found is not None and (found.ip, found.port) == (neuron.ip, neuron.port)
        candidates.append(
            Candidate(
                hotkey=neuron.hotkey,
                coldkey=neuron.coldkey,
                uid=neuron.uid,
                ip=neuron.ip or "",
                port=neuron.port,
                shared_endpoint=endpoints[_endpoint(neuron)] > 1,
                available=found.available if found and there else None,
                priority_weight=weight,
                key=_key(seed, neuron.hotkey, weight),
                remark=remark,
            )
        )
    return candidates


def _drawn(candidates: Sequence[Candidate], maximum: int) -> tuple[Candidate, ...]:
    """The same candidates with their chances, and whether they were drawn."""
    here = [one for one in candidates if one.available is not False]
    weights = [one.priority_weight for one in here]
    picks = {one.hotkey: share for one, share in zip(here, _shares(weights), strict=True)}
    chances = {one.hotkey: p for one, p in zip(here, inclusion_probabilities(weights, maximum), strict=True)}
    first = {one.hotkey for one in sorted(here, key=lambda o: _order(o.priority_weight, o.key, o.hotkey))[:maximum]}
    return tuple(
        replace(
            one,
            draw_probability=picks.get(one.hotkey, 0.0),
            inclusion_probability=chances.get(one.hotkey, 0.0),
            selected=one.hotkey in first,
        )
        for one in candidates
    )


def _count_here(here: int, serving: Sequence[Neuron], availability: AvailabilityTable | None) -> str:
    if availability is None:
        return f"{here} miners serve"
    return f"{here} of {len(serving)} serving miners were available at {availability.taken_at:%H:%M:%S} UTC"


def _weight(view: NetworkView | None, hotkey: Hotkey) -> tuple[float, str]:
    """The weight a miner is drawn with, and why it is not what the Challenge API said."""
    stated = view.priority_weights.get(hotkey) if view else None
    if stated is None:
        return UNKNOWN_WEIGHT, ""
    if not math.isfinite(stated) or stated < 0:
        return UNKNOWN_WEIGHT, f"priority_weight {stated} is no weight and counts as unknown"
    return float(stated), ""


def _seed(challenge_id: str, block_hash: str) -> str:
    return f"{challenge_id}:{block_hash}"


def _key(seed: str, hotkey: str, weight: float) -> float:
    digest = hashlib.sha256(f"{seed}:{hotkey}".encode()).digest()
    u = (2**53 - (int.from_bytes(digest[:8], "big") >> 11)) / 2**53
    clock = -math.log(u) + 0.0  # never -0.0
    return clock / weight if weight > 0 else clock


def _order(weight: float, key: float, hotkey: str) -> tuple[bool, float, str]:
    """Sorts candidates by when they ring, and those of no weight behind all others."""
    return weight == 0, key, hotkey


def _shares(weights: Sequence[float]) -> list[float]:
    """Probability of each to be the first pick: its share of all weights, or of all candidates when none has any."""
    largest = max(weights, default=0.0)
    if largest == 0:
        return [1 / len(weights) for _ in weights]
    scaled = [weight / largest for weight in weights]
    total = math.fsum(scaled)
    return [weight / total for weight in scaled]


def _endpoint(neuron: Neuron) -> tuple[str | None, int]:
    return canonical_ip(neuron.ip), neuron.port
