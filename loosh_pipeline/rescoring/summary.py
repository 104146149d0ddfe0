"""What came of scoring many challenges again, in a few figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from loosh_pipeline.rescoring.bulk import Rescored
from loosh_pipeline.rescoring.rounds import Unscorable

SHOWN = 10
"""Challenges that are named: those that changed most."""
LISTED = 1_000
"""Challenges that are listed with their reasons; more are counted."""


@dataclass
class Summary:
    """Counts, and sums that means are made of."""

    rescored: int = 0
    written: int = 0
    replaced: int = 0
    differs: int = 0
    differing: list[str] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)
    not_compared: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unscorable: list[Unscorable] = field(default_factory=list)
    most_changed: list[tuple[float, str]] = field(default_factory=list)
    _moved: float = 0.0
    _mean_move: float = 0.0
    _correlation: float = 0.0
    _ranked: int = 0

    @property
    def warned(self) -> int:
        """Of how many somebody should be told."""
        return sum(self.reasons.values()) + self.differs + self.replaced + sum(self.not_compared.values())

    def add(self, each: Rescored | Unscorable) -> None:
        if isinstance(each, Unscorable):
            self.reasons[each.kind or each.reason] += 1
            if len(self.unscorable) < LISTED:
                self.unscorable.append(each)
            return
        self.rescored += 1
        self.written += each.written
        self.versions[each.scorer_version] += 1
        self._compare_rows(each)
        if (move := each.move) is None:
            return
        self.compared += 1
        self._moved += move.moved
        self._mean_move += move.mean_move
        if move.rank_correlation is not None:
            self._ranked += 1
            self._correlation += move.rank_correlation
        if move.moved > 0:
            self.most_changed = nlargest(SHOWN, [*self.most_changed, (move.moved, each.id)])

    def _compare_rows(self, each: Rescored) -> None:
        if each.remark:
            self.not_compared[each.remark] += 1
        if not each.differs:
            return
        self.replaced += each.written
        self.differs += not each.written
        self.columns.update(each.differs)
        if len(self.differing) < SHOWN:
            self.differing.append(each.id)

    def figures(self) -> dict[str, Any]:
        """Plain values, of rounds by themselves. Means are over those that have a figure; None where none has."""
        return {
            "rescored": self.rescored,
            "written": self.written,
            "replaced": self.replaced,
            "differs": self.differs,
            "differing_columns": dict(self.columns.most_common(SHOWN)),
            "differing": self.differing,
            "unscorable": sum(self.reasons.values()),
            "reasons": dict(self.reasons.most_common(SHOWN)),
            "scorer_versions": dict(self.versions),
            "compared": self.compared,
            "unreadable_scores": [reason for reason, _ in self.not_compared.most_common(SHOWN)],
            "round_pay_moved_mean": _mean(self._moved, self.compared),
            "round_payout_move_mean": _mean(self._mean_move, self.compared),
            "rank_correlation_mean": _mean(self._correlation, self._ranked),
            "most_changed_rounds": {name: round(moved, 4) for moved, name in self.most_changed},
        }


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 6) if count else None
