"""The part of all that an operator gives to one hotkey, such as the subnet owner's, whose share the chain burns."""

from __future__ import annotations

from loosh_pipeline.domain import Hotkey, Metagraph, RuleAct
from loosh_pipeline.policy.ruled import Ruled, Shares, normalised

BURN = "burn"


def why_not_burnt(hotkey: Hotkey, subnet: Metagraph, own: Hotkey) -> str:
    """Why a hotkey can be given nothing; empty when it can."""
    if hotkey not in subnet.by_hotkey():
        return f"WEIGHTS_BURN_HOTKEY {hotkey} is not registered on subnet {subnet.netuid} at block {subnet.block}"
    if hotkey == own:
        return f"WEIGHTS_BURN_HOTKEY {hotkey} is this validator's own, which gets no weight"
    return ""


def burn(shares: Shares, hotkey: Hotkey, part: float, subnet: Metagraph, own: Hotkey, most: float = 1.0) -> Ruled:
    """Give `part` of all to a hotkey, whatever filters and caps say of it, and the rest to the others.

    Less where it would have more than `most` of all.

    Where it cannot be given anything, the others have all, on record: the check `burn_registered` says whether that
    may be set. Of nothing, nothing is given.
    """
    shares = normalised(shares)
    if not any(shares.values()):
        return Ruled(shares)
    before = shares.get(hotkey, 0.0)
    if reason := why_not_burnt(hotkey, subnet, own):
        return Ruled(shares, (RuleAct(BURN, hotkey, before, before, f"nothing is burnt: {reason}"),))
    given = max(min(part, (most - before) / (1 - before)), 0.0) if before < 1 else part
    after = {each: share * (1 - given) for each, share in shares.items()}
    after[hotkey] = after.get(hotkey, 0.0) + given
    cut = f", cut to {given:.1%}: {most:.1%} is the most that the chain lets one have" if given < part else ""
    return Ruled(after, (RuleAct(BURN, hotkey, before, after[hotkey], f"WEIGHTS_BURN_SHARE is {part:.1%}{cut}"),))
