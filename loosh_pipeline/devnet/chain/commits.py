"""Timelocked commits: how they are made, how the chain holds them, and what became of each.

The chain itself keeps no trace of a commit that is gone. The journal does: it lies in storage under a key of the
devnet's own, so that a reorg takes it back with everything else, and only the inspection page reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from loosh_pipeline.devnet.chain.calls import Call, Event, registered_uid, require
from loosh_pipeline.devnet.chain.runtime import SS58_FORMAT, blake2_256
from loosh_pipeline.devnet.chain.scale import compact, read_bytes, read_compact, read_integer, take, vector
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State
from loosh_pipeline.devnet.chain.weights import rate_limit_passed, require_mechanism

MAX_UNREVEALED_COMMITS = 10
COMMITS = "TimelockedWeightCommits"
_ACCOUNT_BYTES = 32
_MECHANISM_BYTES = 1
_CALL_AND_NETUID_BYTES = 4
_JOURNAL_KEY = b":loosh-devnet:commits"
_KEPT_SETTLED = 64


class CommitState(StrEnum):
    """What became of a commit."""

    WAITING = "waiting"
    REVEALED = "revealed"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Commit:
    """One sealed row as the chain holds it."""

    hotkey: str
    block: int
    ciphertext: bytes
    reveal_round: int

    @property
    def digest(self) -> str:
        return blake2_256(self.ciphertext).hex()


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A line of the journal. `settled_block` is when it left the waiting; `why` says what it waits for, or died of."""

    epoch: int
    hotkey: str
    block: int
    digest: str
    bytes: int
    reveal_round: int
    state: CommitState = CommitState.WAITING
    settled_block: int | None = None
    why: str | None = None


def commit_timelocked(state: MutableState, call: Call) -> list[Event]:
    """Permit, stake, version key and uids are judged at the reveal, not here."""
    netuid, reveal_round = call.args["netuid"], call.args["reveal_round"]
    require_mechanism(state, netuid, call.args.get("mecid", 0))
    require(bool(state.get("CommitRevealWeightsEnabled", netuid)), "CommitRevealDisabled")
    version = state.get("CommitRevealWeightsVersion")
    require(call.args["commit_reveal_version"] == version, "IncorrectCommitRevealVersion")
    uid = registered_uid(state, netuid, call.signer)
    require(rate_limit_passed(state, netuid, uid, call.block), "CommittingWeightsTooFast")
    epoch = int(state.get("SubnetEpochIndex", netuid))
    commits = held_commits(state, netuid, epoch)
    own = sum(commit.hotkey == call.signer for commit in commits)
    require(own < MAX_UNREVEALED_COMMITS, "TooManyUnrevealedCommits")
    # Taken from the raw call: bytes decode to text where they read as such.
    at = _CALL_AND_NETUID_BYTES + (_MECHANISM_BYTES if "mecid" in call.args else 0)
    commit = Commit(call.signer, call.block, read_bytes(call.raw, at)[0], reveal_round)
    hold_commits(state, netuid, epoch, [*commits, commit])
    _note(state, commit, epoch, epoch + state.get("RevealPeriodEpochs", netuid))
    state.put_element("LastUpdate", netuid, uid, call.block)
    digest = blake2_256(commit.ciphertext)
    return [{SUBTENSOR: {"TimelockedWeightsCommitted": [call.signer, netuid, digest, reveal_round]}}]


def held_commits(state: State, netuid: int, epoch: int) -> list[Commit]:
    """The commits of one epoch that are not revealed yet, in the order they were made."""
    from bittensor_core import ss58_encode

    raw = state.raw(COMMITS, netuid, epoch) or compact(0)
    count, at = read_compact(raw, 0)
    commits: list[Commit] = []
    for _ in range(count):
        account, at = take(raw, at, _ACCOUNT_BYTES), at + _ACCOUNT_BYTES
        block, at = read_integer(raw, at, 8)
        ciphertext, at = read_bytes(raw, at)
        reveal_round, at = read_integer(raw, at, 8)
        commits.append(Commit(ss58_encode(account, SS58_FORMAT), block, ciphertext, reveal_round))
    return commits


def hold_commits(state: MutableState, netuid: int, epoch: int, commits: Sequence[Commit]) -> None:
    """Replace the commits of one epoch; none leave no entry."""
    encoded = [_account(c.hotkey) + _u64(c.block) + vector(c.ciphertext) + _u64(c.reveal_round) for c in commits]
    raw = compact(len(encoded)) + b"".join(encoded)
    state.put_raw(COMMITS, netuid, epoch, raw if encoded else None)


def _account(address: str) -> bytes:
    from bittensor_core import ss58_decode

    return bytes(ss58_decode(address))


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def journal(state: State) -> list[CommitRecord]:
    """What became of the commits of this chain: those that wait, and the last ones that do not."""
    lines = json.loads(state.raw_at(_JOURNAL_KEY) or b"[]")
    return [CommitRecord(**{**line, "state": CommitState(line["state"])}) for line in lines]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a commit in a block; `block` is None while it waits."""

    commit: Commit
    state: CommitState
    block: int | None
    why: str | None

    def of(self, record: CommitRecord) -> bool:
        commit = self.commit
        return (record.hotkey, record.block, record.digest) == (commit.hotkey, commit.block, commit.digest)


def settle(state: MutableState, outcomes: Sequence[Outcome]) -> None:
    """Note what became of commits. Nothing new writes nothing: every write is kept for as long as its block."""
    before = journal(state)
    after = [_settled(record, outcomes) for record in before]
    if after != before:
        _write(state, after)


def _settled(record: CommitRecord, outcomes: Sequence[Outcome]) -> CommitRecord:
    for outcome in outcomes:
        if outcome.of(record):
            return replace(record, state=outcome.state, settled_block=outcome.block, why=outcome.why)
    return record


def _note(state: MutableState, commit: Commit, epoch: int, reveal_epoch: int) -> None:
    record = CommitRecord(
        epoch=epoch,
        hotkey=commit.hotkey,
        block=commit.block,
        digest=commit.digest,
        bytes=len(commit.ciphertext),
        reveal_round=commit.reveal_round,
        why=f"opened in epoch {reveal_epoch} with the pulse of round {commit.reveal_round}",
    )
    _write(state, [*journal(state), record])


def _write(state: MutableState, records: Sequence[CommitRecord]) -> None:
    settled = [record for record in records if record.state != CommitState.WAITING][-_KEPT_SETTLED:]
    kept = [record for record in records if record.state == CommitState.WAITING or record in settled]
    state.overlay.set_raw(_JOURNAL_KEY, json.dumps([asdict(record) for record in kept]).encode())
