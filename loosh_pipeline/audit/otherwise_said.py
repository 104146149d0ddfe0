"""What would be otherwise, as JSON has it: the same names and kinds of values in every release of a format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loosh_pipeline.audit.sampling import Estimate, Interval
from loosh_pipeline.audit.scorer_diff import ScorerDiff
from loosh_pipeline.audit.stored_rows import Scorer
from loosh_pipeline.audit.weighing_again import Weighed
from loosh_pipeline.audit.weight_diff import Flag, Move, WeightDiff
from loosh_pipeline.audit.whatif import WhatIf
from loosh_pipeline.domain import RuleAct

WHATIF_FORMAT = "loosh-whatif/1"
DIFF_FORMAT = "loosh-diff/1"


def said_whatif(found: WhatIf) -> dict[str, Any]:
    """Intervals are null where figures are exact; `flags_of_sample`: that flags are of the sample's rounds alone."""
    row, chance = found.epoch.found.row, found.spread
    tv = None if chance is None else chance.total_variation
    return {
        "format": WHATIF_FORMAT,
        "epoch": found.epoch.number,
        "submission": {"state": row.state.value, "taken": row.taken},
        "changed": found.changes.structured(),
        "changed_said": found.changes.said(),
        "how": found.how.value,
        "exact": found.exact,
        "short": found.short,
        "verified": not found.differing,
        "differing": list(found.differing),
        "of_rounds": found.of_rounds,
        "before": _side(found.before),
        "after": _side(found.after),
        "seed": None if chance is None else found.effort.seed,
        "held_up_by": list(found.held_up),
        "without_effect": list(found.without_effect),
        "notes": list(found.notes),
        "total_variation": found.total_variation,
        "total_variation_interval": _interval(tv),
        "rank_correlation": found.ranks,
        "rank_correlation_interval": _interval(None if chance is None else chance.ranks),
        "expected_vtrust": found.vtrust,
        "expected_vtrust_interval": _interval(tv.less(1.0) if tv is not None and found.vtrust is not None else None),
        **_flagged(found.diff),
        "flags_of_sample": chance is not None,
        "miners": [_miner(found, each) for each in found.diff.moves if each.hotkey not in found.unjudged],
        "not_judged": {
            "hotkeys": list(found.unjudged),
            "had": sum(found.had.get(hotkey, 0.0) for hotkey in found.unjudged),
        },
        "acts": [
            {"rule": each.rule, "hotkey": each.hotkey, "was": _act(each.was), "would": _act(each.would)}
            for each in found.acts
        ],
        "unscorable": list(found.unscorable),
    }


def _side(weighed: Weighed) -> dict[str, Any]:
    proposal, earned = weighed.proposal, weighed.earned
    return {
        "profile": proposal.profile,
        "basis": proposal.basis,
        "mode": proposal.mode.value,
        "rounds": earned.rounds,
        "lookback_h": earned.lookback_h,
        "refused": weighed.refused,
    }


def _interval(found: Estimate | None) -> list[float] | None:
    return None if found is None else _ends(found.between)


def _ends(between: Interval | None) -> list[float] | None:
    return None if between is None else [between.low, between.high]


def _miner(found: WhatIf, move: Move) -> dict[str, Any]:
    return {
        "hotkey": move.hotkey,
        "had": found.had.get(move.hotkey, 0.0),
        "before": move.before,
        "after": move.after,
        "change": move.change,
        "change_interval": _ends(found.interval(move.hotkey)),
    }


def _act(act: RuleAct | None) -> dict[str, Any] | None:
    return None if act is None else {"before": act.before, "after": act.after, "reason": act.reason}


def said_diff(found: ScorerDiff) -> dict[str, Any]:
    """`a` and `b` with what they rest on."""
    diff = found.diff
    return {
        "format": DIFF_FORMAT,
        "a": _scorer(found.a, found.a_rounds, found.before),
        "b": _scorer(found.b, found.b_rounds, found.after),
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "rounds": found.rounds,
        "policy_of_epoch": found.epoch,
        "total_variation": diff.total_variation,
        "rank_correlation": diff.rank_correlation,
        "expected_vtrust": diff.vtrust,
        **_flagged(diff),
        "miners": [
            {"hotkey": each.hotkey, "a": each.before, "b": each.after, "change": each.change} for each in diff.moves
        ],
        "missing": list(found.missing),
    }


def _scorer(scorer: Scorer, rounds: int, weighed: Weighed) -> dict[str, Any]:
    about = {"scorer": scorer.said, "profile": scorer.profile.name, "rounds": rounds, "basis": weighed.proposal.basis}
    return {**about, "versions": dict(weighed.earned.versions), "refused": weighed.refused}


def _flagged(diff: WeightDiff) -> dict[str, Any]:
    return {"newly_flagged": _flags(diff.newly_flagged), "no_longer_flagged": _flags(diff.no_longer_flagged)}


def _flags(flags: Sequence[Flag]) -> list[dict[str, str]]:
    return [{"hotkey": each.hotkey, "by": each.by, "why": each.why} for each in flags]
