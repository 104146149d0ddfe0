"""The opening of timelocked commits, with the pulses of the drand beacon that the chain holds.

At the start of every block the commits of the epoch whose turn it is are opened. One whose pulse is missing is tried
again in every block of that epoch, then dropped. What the pallet fails silently at, the journal tells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from loosh_pipeline.devnet.chain.calls import DispatchFailed, Event
from loosh_pipeline.devnet.chain.commits import (
    COMMITS,
    Commit,
    CommitState,
    Outcome,
    held_commits,
    hold_commits,
    journal,
    settle,
)
from loosh_pipeline.devnet.chain.runtime import SS58_FORMAT
from loosh_pipeline.devnet.chain.scale import read_bytes, read_integer, read_u16s, vector
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State
from loosh_pipeline.devnet.chain.weights import Row, apply_row
from loosh_pipeline.errors import DevnetError

DRAND = "Drand"
MECHANISM = 0
"""The only mechanism a devnet's subnet has."""
_ACCOUNT_BYTES = 32
_PROBE = b"loosh devnet"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One round of the drand beacon: its signature opens what was sealed for it."""

    round: int
    signature: bytes
    randomness: bytes

    def __post_init__(self) -> None:
        from bittensor_core import decrypt_with_signature, encrypt_at_round

        try:
            sealed, _ = encrypt_at_round(_PROBE, self.round)
            decrypt_with_signature(sealed, self.signature.hex())
        except (ValueError, OverflowError) as error:
            raise DevnetError(f"this is not the beacon's signature of round {self.round}: {error}") from error


@cache
def known_pulses() -> tuple[Pulse, ...]:
    """The pulses that come with the devnet: round 1000 of quicknet (`data/NOTICE.md`)."""
    data = files("loosh_pipeline.devnet.chain").joinpath("data", "drand_quicknet_round1000.json").read_text()
    pulse = json.loads(data)
    return (Pulse(pulse["round"], bytes.fromhex(pulse["signature"]), bytes.fromhex(pulse["randomness"])),)


def put_pulse(state: MutableState, pulse: Pulse) -> None:
    """Store a pulse as the drand pallet does."""
    raw = pulse.round.to_bytes(8, "little") + vector(pulse.randomness) + vector(pulse.signature)
    state.put_raw("Pulses", pulse.round, raw, pallet=DRAND)
    newest, oldest = state.get("LastStoredRound", pallet=DRAND), state.get("OldestStoredRound", pallet=DRAND)
    state.put("LastStoredRound", max(newest, pulse.round), pallet=DRAND)
    state.put("OldestStoredRound", min(oldest or pulse.round, pulse.round), pallet=DRAND)


def pulse_signature(state: State, round_number: int) -> bytes | None:
    """The signature of a round, None where the chain holds no such pulse."""
    raw = state.raw("Pulses", round_number, pallet=DRAND)
    if raw is None:
        return None
    _, at = read_integer(raw, 0, 8)
    _, at = read_bytes(raw, at)
    return read_bytes(raw, at)[0]


def reveal_commits(state: MutableState, netuid: int, block: int) -> list[Event]:
    """Open what is due in this block, before its extrinsics: the events, in order."""
    epoch, period = state.get("SubnetEpochIndex", netuid), state.get("RevealPeriodEpochs", netuid)
    outcomes = _expire(state, netuid, epoch, period, block)
    events: list[Event] = []
    if epoch >= period and state.raw(COMMITS, netuid, epoch - period) is not None:
        due = held_commits(state, netuid, epoch - period)
        for commit in due:
            outcome, happened = _reveal(state, netuid, block, commit)
            outcomes.append(outcome)
            events += happened
        unrevealed = [outcome.commit for outcome in outcomes if outcome.state == CommitState.WAITING]
        if unrevealed != due:
            hold_commits(state, netuid, epoch - period, unrevealed)
    if outcomes:
        settle(state, outcomes)
    return events


def _expire(state: MutableState, netuid: int, now: int, period: int, block: int) -> list[Outcome]:
    """Drop the commits of epochs whose turn is over."""
    waiting = {record.epoch for record in journal(state) if record.state == CommitState.WAITING}
    outcomes: list[Outcome] = []
    for epoch in sorted(epoch for epoch in waiting if epoch + period < now):
        for commit in held_commits(state, netuid, epoch):
            why = f"the pulse of round {commit.reveal_round} did not come during epoch {epoch + period}"
            outcomes.append(Outcome(commit, CommitState.EXPIRED, block, why))
        hold_commits(state, netuid, epoch, [])
    return outcomes


def _reveal(state: MutableState, netuid: int, block: int, commit: Commit) -> tuple[Outcome, list[Event]]:
    signature = pulse_signature(state, commit.reveal_round)
    if signature is None:
        why = f"the pulse of round {commit.reveal_round} is not on this chain; tried in every block of this epoch"
        return Outcome(commit, CommitState.WAITING, None, why), []
    attempt = state.nested()
    try:
        events = apply_row(attempt, open_commit(commit, netuid, signature), block)
    except (ValueError, DispatchFailed) as failure:
        return Outcome(commit, CommitState.FAILED, block, str(failure)), []
    state.overlay.absorb(attempt.overlay)
    revealed: dict[str, Any] = {"TimelockedWeightsRevealed": [netuid, commit.hotkey]}
    return Outcome(commit, CommitState.REVEALED, block, None), [*events, {SUBTENSOR: revealed}]


def open_commit(commit: Commit, netuid: int, signature: bytes) -> Row:
    """The row that was sealed. Raises `ValueError` for what does not open, or was sealed by another hotkey."""
    from bittensor_core import decrypt_with_signature

    sealed = vector(commit.ciphertext) + commit.reveal_round.to_bytes(8, "little")
    payload = bytes(decrypt_with_signature(sealed, signature.hex()))
    account, at = read_bytes(payload, 0)
    if len(account) < _ACCOUNT_BYTES:
        raise ValueError(f"the sealed hotkey has {len(account)} bytes, not {_ACCOUNT_BYTES}")
    hotkey = _address(account[:_ACCOUNT_BYTES])
    if hotkey != commit.hotkey:
        raise ValueError(f"hotkey mismatch: {hotkey} sealed what {commit.hotkey} committed")
    uids, at = read_u16s(payload, at)
    values, at = read_u16s(payload, at)
    version_key, _ = read_integer(payload, at, 8)
    return Row(hotkey, netuid, MECHANISM, uids, values, version_key)


def _address(account: bytes) -> str:
    from bittensor_core import ss58_encode

    return str(ss58_encode(account, SS58_FORMAT))
