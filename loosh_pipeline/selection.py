"""Who is asked: the serving miners, and a repeatable draw when there are more than may be asked."""

from __future__ import annotations

import hashlib

from loosh_pipeline.domain import ChallengeId, Hotkey, Metagraph, Neuron
from loosh_pipeline.errors import LooshError


class TooFewMiners(LooshError):
    """Fewer miners serve than a round needs to mean anything."""


def serving_miners(metagraph: Metagraph, own_hotkey: Hotkey) -> list[Neuron]:
    """Registered neurons that serve an address, without this validator and without other validators."""
    return [n for n in metagraph.neurons if n.serves and n.hotkey != own_hotkey and not n.validator_permit]


def select_miners(
    metagraph: Metagraph, own_hotkey: Hotkey, challenge_id: ChallengeId, *, minimum: int, maximum: int
) -> tuple[Neuron, ...]:
    """Up to `maximum` serving miners, in order of uid.

    Drawn are those whose hash with the challenge and the block is lowest, so that an auditor with the stored
    metagraph can repeat the draw, in any language.
    Raises TooFewMiners below `minimum`.
    """
    candidates = serving_miners(metagraph, own_hotkey)
    if len(candidates) < minimum:
        raise TooFewMiners(
            f"{len(candidates)} miners serve on subnet {metagraph.netuid} at block {metagraph.block}, "
            f"MIN_MINERS is {minimum}; the challenge is kept and tried again"
        )
    if len(candidates) > maximum:
        seed = f"{challenge_id}:{metagraph.block_hash}"
        candidates.sort(key=lambda n: hashlib.sha256(f"{seed}:{n.hotkey}".encode()).digest())
        candidates = candidates[:maximum]
    return tuple(sorted(candidates, key=lambda n: n.uid))
