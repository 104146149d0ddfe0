"""What became of one challenge: how far it is, who was asked and paid, and whether the network was told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.score_tables import CANARIES, IN_USE, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables

ENDED = (ChallengeState.SUBMITTED, ChallengeState.FAILED)
LOOK_EVERY_S = 0.5


def challenge_facts(settings: Settings, inbox: Inbox, challenge_id: ChallengeId) -> dict[str, Any]:
    """Everything as plain values, None for what is not known yet. Raises UnknownChallenge."""
    row = inbox.get(challenge_id)
    told = Outbox(inbox.engine).result_of(challenge_id)
    key = TableKey.of(row.id, row.received_at)
    canary = challenge_id in Canaries(inbox.engine)
    stored = ScoreTables(Tables(settings.tables_root), CANARIES if canary else IN_USE)
    scores = stored.newest_rows(key, paying_profile(settings))
    return {
        "id": row.id,
        "state": row.state.value,
        "link": None if row.link is None else {"seq": row.link.seq, "digest": row.link.digest},
        "link_header": None if row.link is None else str(row.link),
        "canary": canary,
        "received_at": row.received_at.isoformat(),
        "state_changed_at": row.state_changed_at.isoformat(),
        "scored_at": None if row.scored_at is None else row.scored_at.isoformat(),
        "attempts": row.attempts,
        "failure": row.failure,
        "run_id": row.run_id,
        "asked": row.asked,
        "answered": row.answered,
        "told": None if told is None else {"state": told.state.value, "attempts": told.attempts, "answer": told.detail},
        "scorer_version": None if scores is None else scores["scorer_version"][0],
        "payouts": [] if scores is None else [_payout(each) for each in scores.to_dicts()],
    }


def ended(facts: Mapping[str, Any]) -> bool:
    """Whether nothing more becomes of it by itself."""
    return facts["state"] in ENDED


def waited_for(look: Callable[[], dict[str, Any]], within_s: float) -> dict[str, Any]:
    """What is so when it has ended, or when patience has."""
    until = time.monotonic() + within_s
    while not ended(facts := look()) and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    return facts


def _payout(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("hotkey", "outcome", "reason", "elapsed_ms", "payout")
    return {name: row[name] for name in names}
