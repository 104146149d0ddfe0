"""What an operator should know of the validator's standing on the chain: pure, over what is stored.

Each alert has a code that stays, a text with the figures, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from loosh_pipeline.chain.readiness import has_permit
from loosh_pipeline.chain.records import OPEN, SPEC_CHANGE_SHOWN, SpecChange, SubmissionRow, SubmissionState
from loosh_pipeline.domain import Coldkey, Hotkey, Metagraph, Mode, Neuron
from loosh_pipeline.policy.modes import mode_of

LATE_AFTER_INTERVALS = 3

Topic = Literal["chain", "weights", "receipts"]
"""Where an alert is shown in the UI: at the metagraph, the weights, or the receipts."""


@dataclass(frozen=True, slots=True)
class Alert:
    """`since`: when it began, None where nothing stored says so."""

    code: str
    topic: Topic
    text: str
    action: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the validator. `rows`: its submissions, the newest first; `coldkey`: of coldkeypub.txt."""

    now: datetime
    own_hotkey: Hotkey | None
    subnet: Metagraph | None
    rows: Sequence[SubmissionRow] = ()
    spec_change: SpecChange | None = None
    coldkey: Coldkey | None = None
    signers: frozenset[Hotkey] = frozenset()
    interval_blocks: int = 360
    seen_within_s: float = 900.0
    blocked: Sequence[str] = ()
    """Checks that keep the newest proposal from being set, with why; empty when it was set, or may be."""
    degraded_at: float = 0.8
    emergency_at: float = 0.9
    block_s: float | None = 12.0
    """Seconds a block, for people; None: not known."""

    @property
    def own(self) -> Neuron | None:
        if self.subnet is None or self.own_hotkey is None:
            return None
        return self.subnet.by_hotkey().get(self.own_hotkey)

    @property
    def mode(self) -> Mode:
        if self.subnet is None or self.own_hotkey is None:
            return Mode.NORMAL
        return mode_of(self.subnet, self.own_hotkey, self.degraded_at, self.emergency_at)


def alerts(standing: Standing) -> list[Alert]:
    """Everything that somebody should look at, the most pressing first."""
    return [
        *_of_the_chain(standing),
        *_of_the_keys(standing),
        *_of_the_neuron(standing),
        *_of_weights(standing),
        *_of_the_newest(standing),
        *_of_the_call(standing),
    ]


def _of_the_chain(standing: Standing) -> Iterator[Alert]:
    if standing.subnet is None:
        yield Alert(
            "chain_unseen",
            "chain",
            "the chain was never seen",
            "check SUBTENSOR_ADDRESS; the runs of refresh_metagraph say what it answered",
        )
    elif (age_s := (standing.now - standing.subnet.taken_at).total_seconds()) > standing.seen_within_s:
        yield Alert(
            "chain_stale",
            "chain",
            f"the newest snapshot is of block {standing.subnet.block}, {age_s / 60:.0f} minutes ago",
            "check SUBTENSOR_ADDRESS and name SUBTENSOR_FALLBACKS; the runs of refresh_metagraph say what was answered",
            standing.subnet.taken_at,
        )
    change = standing.spec_change
    if change is not None and standing.now - change.at < SPEC_CHANGE_SHOWN:
        yield Alert(
            "spec_version_changed",
            "chain",
            f"the chain's runtime went from spec_version {change.before} to {change.after} on {change.at:%Y-%m-%d}",
            "see that weights are still observed (`loosh chain status`), look for a new release, then run "
            "`loosh chain acknowledge`",
            change.at,
        )


def _of_the_keys(standing: Standing) -> Iterator[Alert]:
    if standing.own_hotkey is None:
        yield Alert(
            "no_hotkey", "chain", "the wallet's hotkey cannot be read", "run `loosh wallet new`, or copy it there"
        )
        return
    others = standing.signers - {standing.own_hotkey}
    if others and standing.own_hotkey not in standing.signers:
        yield Alert(
            "signer_mismatch",
            "chain",
            f"weights were set from here as {', '.join(sorted(others))}; the wallet's hotkey is {standing.own_hotkey}",
            "check WALLET_NAME and HOTKEY_NAME; meant so, this ends with the first weights of the new hotkey",
        )
    own = standing.own
    if own is not None and standing.coldkey not in (None, own.coldkey):
        yield Alert(
            "signer_mismatch",
            "chain",
            f"on chain {own.hotkey} belongs to coldkey {own.coldkey}; coldkeypub.txt holds {standing.coldkey}",
            "copy the coldkeypub.txt of the wallet that the hotkey belongs to, or check WALLET_NAME and HOTKEY_NAME",
        )


def _of_the_neuron(standing: Standing) -> Iterator[Alert]:
    subnet, own = standing.subnet, standing.own
    if subnet is None or standing.own_hotkey is None:
        return
    if own is None:
        yield Alert(
            "not_registered",
            "chain",
            f"{standing.own_hotkey} is not registered on subnet {subnet.netuid} (block {subnet.block})",
            "register the hotkey with `btcli`, from the machine that holds the coldkey",
        )
        return
    if not has_permit(subnet, own):
        yield Alert(
            "no_permit",
            "chain",
            f"uid {own.uid} has no validator permit at block {subnet.block} (stake {own.stake:.9g})",
            "permits go to the highest stakes at each epoch: stake more to the hotkey",
        )
    if own.stake < subnet.stake_threshold:
        yield Alert(
            "low_stake",
            "chain",
            f"uid {own.uid} has a stake of {own.stake:.9g}; weights ask for {subnet.stake_threshold:.9g}",
            "stake more to the hotkey: until then no weights are set, and committed ones are not revealed",
        )


def _of_weights(standing: Standing) -> Iterator[Alert]:
    subnet, own = standing.subnet, standing.own
    if subnet is None or own is None:
        return
    since, cutoff = subnet.block - own.last_update, subnet.activity_cutoff_blocks
    mode = standing.mode
    if mode is not Mode.NORMAL:
        yield Alert(
            f"mode_{mode}",
            "weights",
            f"{since} blocks without new weights, {since / cutoff:.0%} of the chain's activity cutoff of {cutoff}, "
            "after which the validator counts as inactive and earns nothing",
            "the skip reason of weights_schedule and the newest run of set_weights say what holds them up",
        )
    elif own.last_update and since > LATE_AFTER_INTERVALS * standing.interval_blocks:
        yield Alert(
            "weights_late",
            "weights",
            f"no weights for {since} blocks; WEIGHTS_INTERVAL_BLOCKS is {standing.interval_blocks}",
            "the skip reason of weights_schedule and the newest run of set_weights say what holds them up",
        )
    if standing.blocked:
        yield Alert(
            "weights_blocked",
            "weights",
            f"the newest proposal may not be set: {'; '.join(standing.blocked)}",
            "look at the page of weight_proposal; if it is right, `loosh weights set --waive CHECK` (docs/weights.md)",
        )
    yield from _of_others(standing, own)


def _of_others(standing: Standing, own: Neuron) -> Iterator[Alert]:
    """Under commit-reveal too: there `last_update` moves at commits alone."""
    sent = (row for row in standing.rows if row.state is not SubmissionState.NOT_DUE)
    newest = next(sent, None)
    if newest is None or newest.state not in (SubmissionState.OBSERVED, SubmissionState.COMMITTED):
        return
    if newest.included_block is not None and own.last_update > newest.included_block:
        yield Alert(
            "foreign_weights",
            "weights",
            f"weights of this hotkey were set at block {own.last_update}, not from here",
            "stop the other validator that uses this hotkey: the two overwrite each other",
        )


_UNDER_WAY = (OPEN - {SubmissionState.UNKNOWN}) | {SubmissionState.NOT_DUE}
_ACTIONS = {
    SubmissionState.MISSING: "stop any other validator that uses this hotkey; the next weights follow at the interval",
    SubmissionState.REFUSED: "the text names the chain's rule that it broke; it is tried again by itself",
    SubmissionState.EXPIRED: "it is tried again by itself; when that repeats, name another endpoint first",
    SubmissionState.UNREVEALED: "check stake, permit and this machine's clock (NTP); it is tried again by itself",
    SubmissionState.UNKNOWN: "nothing: the chain is read until it is certain, then it is tried again if it must be",
}


def _of_the_newest(standing: Standing) -> Iterator[Alert]:
    """Of the newest submission, or while that takes its course, of the newest that the chain has decided on."""
    row = next((row for row in standing.rows if row.state not in _UNDER_WAY), None)
    if row is None or (action := _ACTIONS.get(row.state)) is None:
        return
    text = f"the weights of block {row.plan.block} are {row.state}: {row.reason}"
    yield Alert(f"weights_{row.state}", "receipts", text, action, row.created_at)


def _of_the_call(standing: Standing) -> Iterator[Alert]:
    row = standing.rows[0] if standing.rows else None
    if row is not None and row.composed_here is not None:
        yield Alert(
            "composed_here",
            "weights",
            f"the weights of block {row.plan.block} were composed here, without the SDK's checks: {row.composed_here}",
            "see that they are observed, and look for a new release: the chain's runtime is another than the SDK knows",
            row.created_at,
        )
