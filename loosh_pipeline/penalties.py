"""Whom the weights that were set took pay from for being suspected: what the Challenge API is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from loosh_pipeline.domain import Metagraph, Proposal
from loosh_pipeline.policy.sybil import SYBIL
from loosh_pipeline.store.frames import proposal_of
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weighing import last_set, proposal_behind, view_at
from loosh_pipeline.wire.reports import Penalty


@dataclass(frozen=True, slots=True)
class SetProposal:
    """The proposal behind the weights that the chain took last. `key` is its table's name, and tells it from others."""

    key: str
    proposal: Proposal
    set_at: datetime


def last_set_proposal(tables: Tables) -> SetProposal | None:
    """The newest proposal that was there when the last weights were submitted; None when none ever were."""
    found = last_set(tables)
    if found is None:
        return None
    submitted, rows = found
    key = proposal_behind(tables, submitted)
    if key is None:
        return None
    proposal = proposal_of(tables.read("weight_proposals", key), tables.read("policy_acts", key))
    return SetProposal(key.name, proposal, rows["submitted_at"][0])


def penalties_of(proposal: Proposal, subnet: Metagraph | None, tables: Tables) -> list[Penalty]:
    """Who lost a part or all of its share, by the score that was known when it was proposed; in order of hotkeys."""
    view, there = view_at(tables, proposal.made_at), {} if subnet is None else subnet.by_hotkey()
    scores = {} if view is None else view.sybil_scores
    struck = {act.hotkey: act for act in proposal.acts if act.rule == SYBIL and act.after < act.before}
    return [
        Penalty(
            miner=hotkey,
            uid=there[hotkey].uid if hotkey in there else None,
            type="graduated" if struck[hotkey].after > 0 else "zeroed",
            sybil_score=min(scores.get(hotkey, 0.0), 1.0),
        )
        for hotkey in sorted(struck)
    ]
