"""Whether weights may be set now, decided from one snapshot and what is on record: pure, before anything is signed.

Whatever is not yet is a skip with a code and a reason, not a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loosh_pipeline.chain.port import ERA_BLOCKS
from loosh_pipeline.chain.records import FAILED, SubmissionRow, SubmissionState
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Mode, Neuron

REORG_BLOCKS = 4
"""Blocks by which the chain may still change its mind: so long after a signature died, nothing is concluded."""
FIRST_RETRY_BLOCKS = 10
LAGGING_BLOCKS = 300
"""Blocks by which a node that is not refused as stale may be behind the one that something was signed at."""
LONGEST_RETRY_BLOCKS = 50
"""Two minutes at 12 s a block, doubling with each failure up to ten."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Why no weights are submitted now. `due_block`: when, by block height alone, they will be; None: unknown."""

    code: str
    text: str
    due_block: Block | None = None


def not_ready(
    subnet: Metagraph,
    own_hotkey: Hotkey,
    interval_blocks: int = 0,
    rows: Sequence[SubmissionRow] = (),
    mode: Mode = Mode.NORMAL,
) -> NotYet | None:
    """None when weights may be set. `rows`: this hotkey's submissions, the newest first."""
    own = subnet.by_hotkey().get(own_hotkey)
    where = f"subnet {subnet.netuid} at block {subnet.block}"
    if own is None:
        return NotYet("not_registered", f"{own_hotkey} is not registered on {where}")
    if not has_permit(subnet, own):
        return NotYet("no_permit", f"{own_hotkey} (uid {own.uid}) has no validator permit on {where}")
    if own.stake < subnet.stake_threshold:
        return NotYet(
            "low_stake",
            f"{own_hotkey} (uid {own.uid}) has a stake of {own.stake:.9g} on {where}; {subnet.stake_threshold:.9g} is "
            "the least with which weights may be set",
        )
    rows = [row for row in rows if row.state is not SubmissionState.NOT_DUE]
    interval = interval_blocks if mode is Mode.NORMAL else 0
    return _may_still_land(subnet, own, rows) or _too_soon(subnet, own, interval, rows) or _paused(subnet, rows)


def has_permit(subnet: Metagraph, own: Neuron) -> bool:
    """Whether a neuron may set weights as validators do: with a permit, or as the subnet's owner."""
    is_owners = own.hotkey == subnet.owner_hotkey or own.coldkey == subnet.owner_coldkey
    return own.validator_permit or is_owners


def is_dead(row: SubmissionRow, block: Block) -> bool:
    """Whether no block from `block` on can hold what was signed. What dies later than anything signed here can was
    signed on a chain that was started anew since.
    """
    if row.dies_at is None or block >= row.dies_at + REORG_BLOCKS:
        return True
    return row.dies_at > block + ERA_BLOCKS + LAGGING_BLOCKS


def _may_still_land(subnet: Metagraph, own: Neuron, rows: Sequence[SubmissionRow]) -> NotYet | None:
    """Nothing is sent while something that was sent before may still be included."""
    if not rows or rows[0].state is SubmissionState.REFUSED or is_dead(rows[0], subnet.block):
        return None
    row = rows[0]
    unsettled = row.state in (SubmissionState.SENDING, SubmissionState.UNKNOWN)
    if not unsettled and own.last_update > row.plan.block:
        return None
    assert row.dies_at is not None, "what is not dead was signed"
    due = Block(row.dies_at + REORG_BLOCKS)
    return NotYet(
        "submission_open",
        f"whether the weights of block {row.plan.block} ({row.extrinsic_hash}) were included is not certain, and they "
        f"may still be before block {due} (now {subnet.block}); nothing else is submitted until then",
        due,
    )


def _too_soon(subnet: Metagraph, own: Neuron, interval_blocks: int, rows: Sequence[SubmissionRow]) -> NotYet | None:
    """The chain accepts weights once the rate limit has passed, or at any time when none were ever set.

    The interval is the operator's own; it gives way where weights are urgent, or committed ones never showed.
    """
    if own.last_update == 0:
        return None
    (code, what), blocks = _wait(subnet, interval_blocks, rows)
    since = subnet.block - own.last_update
    if since >= blocks:
        return None
    due = Block(own.last_update + blocks)
    return NotYet(
        code,
        f"weights were set at block {own.last_update}, {since} blocks before block {subnet.block}; "
        f"{what} is {blocks} blocks, so they are due at block {due}",
        due,
    )


def _wait(subnet: Metagraph, interval_blocks: int, rows: Sequence[SubmissionRow]) -> tuple[tuple[str, str], int]:
    unrevealed = bool(rows) and rows[0].state is SubmissionState.UNREVEALED
    waits = {
        ("rate_limited", "the chain's rate limit"): subnet.weights_rate_limit_blocks,
        ("interval", "the interval"): 0 if unrevealed else interval_blocks,
    }
    return max(waits.items(), key=lambda wait: wait[1])


def due_since(
    subnet: Metagraph, own: Neuron, interval_blocks: int, rows: Sequence[SubmissionRow], mode: Mode
) -> Block | None:
    """From which block on rate limit and interval let weights be set; None where none were set before."""
    if own.last_update <= own.registered_block:
        return None
    rows = [row for row in rows if row.state is not SubmissionState.NOT_DUE]
    _, blocks = _wait(subnet, interval_blocks if mode is Mode.NORMAL else 0, rows)
    return Block(own.last_update + blocks)


def _paused(subnet: Metagraph, rows: Sequence[SubmissionRow]) -> NotYet | None:
    """After a failure, some blocks; after each further one, more."""
    failures = next((count for count, row in enumerate(rows) if row.state not in FAILED), len(rows))
    if not failures:
        return None
    pause = min(FIRST_RETRY_BLOCKS * 2 ** min(failures - 1, 8), LONGEST_RETRY_BLOCKS)
    due = Block(rows[0].seen_block + pause)
    if subnet.block >= due:
        return None
    return NotYet(
        "retry_later",
        f"the last submission was {rows[0].state} ({rows[0].reason}), {failures} in a row; the next follows at block "
        f"{due} (now {subnet.block})",
        due,
    )
