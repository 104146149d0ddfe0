"""What became of submitted weights, in words: was it set, and when are the next due? Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingress.pages.filters import lasted
from loosh_pipeline.chain.countdown import TICK_MINUTES, Countdown
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState

State = SubmissionState


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone`: good, warn or bad; `answer` to whether they were set; `text` after it."""

    tone: str
    answer: str
    text: str


def verdict(row: SubmissionRow) -> Verdict:
    """Of one submission. What was seen of it is the row's own reason."""
    block = "a block" if row.included_block is None else f"block {row.included_block}"
    said = {
        State.OBSERVED: ("good", "Yes", f"they were included in {block}, and read back from the chain as submitted"),
        State.SUPERSEDED: (
            "good",
            "Yes",
            f"they were included in {block}; later weights of this validator are there now",
        ),
        State.COMMITTED: ("good", "Yes", f"they are committed in {block}; {_reveal(row)}"),
        State.INCLUDED: ("warn", "Yes, but not read back yet", f"they were included in {block}"),
        State.PLANNED: ("warn", "Not yet", "they are on record, and nothing was signed yet"),
        State.SENDING: ("warn", "Not yet", "they were signed, and sent or about to be"),
        State.UNKNOWN: ("warn", "Not certain", f"sending broke off; until block {row.dies_at} they may be included"),
        State.NOT_DUE: ("warn", "No", "the chain's rate limit had not passed; nothing went wrong"),
        State.REFUSED: ("bad", "No", "the chain refused them"),
        State.EXPIRED: ("bad", "No", "they got into no block, and never can"),
        State.MISSING: ("bad", "No", f"they were included in {block}, and the chain's row is another"),
        State.UNREVEALED: ("bad", "No", f"they were committed in {block}, and the chain did not reveal them"),
        State.UNREGISTERED: ("bad", "No longer", "the hotkey lost its slot, and the weights went with it"),
    }
    return Verdict(*said[row.state])


def not_ours(row: SubmissionRow, facts: Mapping[str, Any]) -> str:
    """Whose weights these are, where they are not of the hotkey, subnet and chain that this validator has now; empty
    where they are, or that is not known. `facts`: of `chain_status`.
    """
    signed = {"hotkey": row.hotkey, "netuid": row.plan.netuid, "genesis_hash": row.genesis_hash}
    if not [name for name, value in signed.items() if None not in (value, facts.get(name)) and value != facts[name]]:
        return ""
    said = f"They are of hotkey {row.hotkey} on subnet {row.plan.netuid}"
    chain = f" of the chain with block 0 {row.genesis_hash}" if row.genesis_hash else ""
    now = f"this validator is {facts.get('hotkey') or 'of an unknown hotkey'} on subnet {facts.get('netuid')} now"
    return f"{said}{chain}; {now}, and nothing of that was submitted yet"


def _reveal(row: SubmissionRow) -> str:
    if row.reveal_epoch is not None:
        return f"the chain reveals them in its epoch {row.reveal_epoch}, and until then nobody can read them"
    if row.reveal_round is not None:
        return f"they can be opened from drand round {row.reveal_round} on, and until then nobody can read them"
    return "the chain reveals them later, and until then nobody can read them"


def next_due(facts: Mapping[str, Any], scored: int, wanted: int, lookback_h: float, now: datetime) -> str:
    """When the next are due. `facts`: of `chain_status`; `scored`: rounds of the lookback, counted up to `wanted`."""
    if facts.get("block") is None:
        return "the chain was never seen, so it is not known when weights are due"
    if facts.get("hotkey") is None:
        return "the wallet's hotkey cannot be read, so none are set"
    count = str(scored) if scored < wanted else f"at least {wanted}"
    rounds = f"{count} rounds were scored in the last {lookback_h:g} h, of the {wanted} that it takes"
    enough = f"{rounds} (WEIGHTS_MIN_ROUNDS)"
    left = Countdown.of(facts, now)
    looks = f"weights_schedule looks every {TICK_MINUTES} minutes"
    if left.due_s is not None and left.due_s <= 0:
        late = ", which is late" if left.late else ""
        return f"due since {lasted(-left.due_s)}{late}: {looks}; {enough}"
    if facts.get("not_yet") is None:
        return f"they are due: {looks}; {enough}"
    if facts.get("due_block") is None:
        return str(facts["not_yet"])
    seen = "" if left.seen_s is None else f", seen {lasted(left.seen_s)} ago"
    return f"{_when(facts, left)} (the newest known block is {facts['block']}{seen}); {enough}"


def _when(facts: Mapping[str, Any], left: Countdown) -> str:
    at = f"at block {facts['due_block']}"
    if left.due_s is None:
        return at
    return (
        f"{at}, about {datetime.fromisoformat(facts['due_at']).astimezone(UTC):%H:%M:%S} UTC, in {lasted(left.due_s)}"
    )
