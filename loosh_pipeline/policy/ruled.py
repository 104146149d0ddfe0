"""What a rule is: shares in, shares and acts out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import Hotkey, RuleAct

Shares = Mapping[Hotkey, float]


@dataclass(frozen=True, slots=True)
class Ruled:
    """Shares after a rule, and what it did to whom. Who is missing from the shares is out."""

    shares: Shares
    acts: tuple[RuleAct, ...] = ()


Rule = Callable[[Shares], Ruled]
Named = tuple[str, Rule]
"""A rule by the name that its acts bear; of one that only divides what is left, `SHARED`."""
SHARED = "shares"


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule made of the shares it was given, and what it did to whom."""

    rule: str
    before: Shares
    after: Shares
    acts: tuple[RuleAct, ...] = ()


def chained(shares: Shares, rules: Iterable[Named]) -> tuple[Step, ...]:
    """One rule after the other."""
    steps: list[Step] = []
    for name, rule in rules:
        ruled = rule(shares)
        steps.append(Step(name, shares, ruled.shares, ruled.acts))
        shares = ruled.shares
    return tuple(steps)


def without(shares: Shares, rule: str, reasons: Mapping[Hotkey, str]) -> Ruled:
    """Shares without those for whom there is a reason; an act for each of them that had any."""
    acts = (RuleAct(rule, hotkey, shares[hotkey], 0.0, reasons[hotkey]) for hotkey in sorted(reasons) if shares[hotkey])
    return Ruled({hotkey: share for hotkey, share in shares.items() if hotkey not in reasons}, tuple(acts))


def normalised(shares: Shares) -> dict[Hotkey, float]:
    """The same shares of one whole; unchanged when nobody has any."""
    total = math.fsum(shares.values())
    return {hotkey: share / total for hotkey, share in shares.items()} if total > 0 else dict(shares)
