"""How the validator stands on the chain, gathered from what is stored, for a terminal or a program."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from loosh_pipeline.chain.alerts import Alert, Standing, alerts
from loosh_pipeline.chain.countdown import TICK_MINUTES, Countdown, at_block
from loosh_pipeline.chain.endpoints import ENDPOINTS_FILE, Endpoints, shown
from loosh_pipeline.chain.readiness import due_since, not_ready
from loosh_pipeline.chain.records import FAILED, SubmissionRow, plan_digest
from loosh_pipeline.chain.wallet import coldkey_of, hotkey_of
from loosh_pipeline.domain import Block, Hotkey, Metagraph
from loosh_pipeline.errors import StoreError
from loosh_pipeline.policy.checks import unmet
from loosh_pipeline.proposing import gathered
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import metagraph_of
from loosh_pipeline.store.spec_versions import SpecVersions
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weighing import newest_proposal

BLOCK_S = 12.0
"""Seconds a block on the live network, for people, until they can be told from two snapshots."""
SEEN_WITHIN_REFRESHES = 3
REACHED_WITHIN_REFRESHES = 2
ONE_MINUTE_S = 60


def stored_standing(
    settings: Settings, engine: Engine, now: datetime, own_hotkey: Hotkey | None = None, subnet: Metagraph | None = None
) -> Standing:
    """The standing by the newest stored snapshot, unless a fresh one is given; of the wallet's hotkey likewise."""
    own_hotkey = own_hotkey or hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    if subnet is None:
        frame = Tables(settings.tables_root).latest("metagraph")
        subnet = None if frame is None else metagraph_of(frame)
    ledger = Submissions(engine)
    genesis_hash = None if subnet is None else subnet.genesis_hash
    rows = () if own_hotkey is None else ledger.recent(settings.netuid, own_hotkey, genesis_hash=genesis_hash)
    blocked: tuple[str, ...] = ()
    block_s = _block_s(settings, subnet)
    if subnet is not None and own_hotkey is not None:
        subnet = _brought_up(subnet, own_hotkey, rows)
        blocked = _blocked(settings, engine, subnet, own_hotkey, rows, now)
    return Standing(
        now=now,
        own_hotkey=own_hotkey,
        subnet=subnet,
        rows=rows,
        blocked=blocked,
        spec_change=SpecVersions(engine).change(),
        coldkey=coldkey_of(settings.wallet_path, settings.wallet_name),
        signers=ledger.signers(settings.netuid, genesis_hash),
        interval_blocks=settings.weights_interval_blocks,
        degraded_at=settings.weights_degraded_at,
        emergency_at=settings.weights_emergency_at,
        seen_within_s=SEEN_WITHIN_REFRESHES * settings.metagraph_refresh_s,
        block_s=block_s,
    )


def _block_s(settings: Settings, subnet: Metagraph | None) -> float | None:
    """Seconds a block of this chain, by the stored snapshots before this one; None where blocks may take any time."""
    assumed = None if settings.allow_private_addresses else BLOCK_S
    if subnet is None or subnet.block_time is None:
        return assumed
    tables = Tables(settings.tables_root)
    for key in itertools.islice(tables.newest_first("metagraph"), 2):
        before = metagraph_of(tables.read("metagraph", key))
        same_chain = before.genesis_hash == subnet.genesis_hash and before.block_time is not None
        if same_chain and before.block_time is not None and before.block < subnet.block:
            return (subnet.block_time - before.block_time).total_seconds() / (subnet.block - before.block)
    return assumed


def _brought_up(subnet: Metagraph, own_hotkey: Hotkey, rows: Sequence[SubmissionRow]) -> Metagraph:
    """A snapshot with what was seen of our own weights since: it is minutes old where nobody asked the chain."""
    seen = [row for row in rows if row.included_block is not None and row.state not in FAILED]
    if not seen or seen[0].seen_block <= subnet.block:
        return subnet
    included = seen[0].included_block or Block(0)
    neurons = tuple(
        replace(each, last_update=max(each.last_update, included)) if each.hotkey == own_hotkey else each
        for each in subnet.neurons
    )
    return replace(subnet, block=seen[0].seen_block, block_time=seen[0].seen_at, neurons=neurons)


def _blocked(
    settings: Settings,
    engine: Engine,
    subnet: Metagraph,
    own_hotkey: Hotkey,
    rows: Sequence[SubmissionRow],
    now: datetime,
) -> tuple[str, ...]:
    """Why the newest proposal may not be set, if nothing was submitted since it was made."""
    tables = Tables(settings.tables_root)
    try:
        proposal = newest_proposal(tables)
        if proposal is None or (rows and rows[0].created_at >= proposal.made_at):
            return ()
        inputs = gathered(settings, tables, engine, subnet, own_hotkey, now)
    except StoreError as error:
        return (f"it cannot be judged: {error}",)
    return tuple(line for line in unmet(proposal, inputs) if not line.startswith("recent:"))  # the next one is


def facts(standing: Standing, settings: Settings) -> dict[str, Any]:
    """Everything as plain values, None for what is not known."""
    return {
        "netuid": settings.netuid,
        "endpoint": shown(endpoints(settings, standing.now)[0]),
        "hotkey": standing.own_hotkey,
        **_of_the_subnet(standing),
        **_due(standing),
        "submission": _of_a_submission(standing.rows[0]) if standing.rows else None,
        "alerts": [{"code": each.code, "text": each.text, "action": each.action} for each in alerts(standing)],
    }


def endpoints(settings: Settings, now: datetime) -> tuple[str, ...]:
    """Where the chain is asked, in the order in which it is now."""
    return Endpoints(settings.chain_endpoints, settings.home / ENDPOINTS_FILE).in_order(now)


def unreached(standing: Standing, settings: Settings) -> bool:
    """Whether no endpoint served when it was asked last, or the newest snapshot is so old that none will have."""
    subnet = standing.subnet
    limit_s = REACHED_WITHIN_REFRESHES * settings.metagraph_refresh_s
    old = subnet is not None and (standing.now - subnet.taken_at).total_seconds() > limit_s
    return old or Endpoints(settings.chain_endpoints, settings.home / ENDPOINTS_FILE).all_failed()


def _of_the_subnet(standing: Standing) -> dict[str, Any]:
    subnet, own = standing.subnet, standing.own
    if subnet is None:
        return {"block": None, "registered": None}
    made_at = subnet.block_time or subnet.taken_at
    found = {
        "block": subnet.block,
        "block_s": standing.block_s,
        "seen_at": made_at.isoformat(),
        "block_age_s": round((standing.now - made_at).total_seconds(), 1),
        "spec_version": subnet.spec_version,
        "genesis_hash": subnet.genesis_hash,
        "registered": own is not None,
        "activity_cutoff_blocks": subnet.activity_cutoff_blocks,
        "rate_limit_blocks": subnet.weights_rate_limit_blocks,
        "commit_reveal": subnet.commit_reveal,
        "stake_threshold": subnet.stake_threshold,
    }
    if own is None:
        return found
    cutoff_at = at_block(own.last_update + subnet.activity_cutoff_blocks, subnet.block, made_at, standing.block_s)
    return found | {
        "cutoff_at": None if cutoff_at is None else cutoff_at.isoformat(),
        "uid": own.uid,
        "validator_permit": own.validator_permit,
        "stake": own.stake,
        "serves_at": f"{own.ip}:{own.port}" if own.serves else None,
        "last_update": own.last_update if own.last_update > own.registered_block else 0,
        "blocks_since_update": subnet.block - own.last_update,
        "mode": standing.mode.value,
    }


def _due(standing: Standing) -> dict[str, Any]:
    subnet, own = standing.subnet, standing.own
    if subnet is None or standing.own_hotkey is None:
        return dict.fromkeys(("due_block", "due_at", "due_in_minutes", "not_yet", "not_yet_code"))
    not_yet = not_ready(subnet, standing.own_hotkey, standing.interval_blocks, standing.rows, standing.mode)
    due = None if not_yet is None else not_yet.due_block
    if not_yet is None and own is not None:
        due = due_since(subnet, own, standing.interval_blocks, standing.rows, standing.mode)
    made_at = subnet.block_time or subnet.taken_at
    due_at = None if due is None else at_block(due, subnet.block, made_at, standing.block_s)
    left_s = None if due_at is None else max(0.0, (due_at - standing.now).total_seconds())
    return {
        "due_block": subnet.block if due is None and not_yet is None else due,
        "due_at": None if due_at is None else due_at.isoformat(),
        "due_in_minutes": 0.0 if not_yet is None else None if left_s is None else round(left_s / 60, 1),
        "not_yet": None if not_yet is None else not_yet.text,
        "not_yet_code": None if not_yet is None else not_yet.code,
    }


def _of_a_submission(row: SubmissionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "block": row.plan.block,
        "state": row.state.value,
        "reason": row.reason,
        "composed_here": row.composed_here,
        "weights": len(row.plan.weights),
        "dropped": len(row.plan.dropped),
        "digest": plan_digest(row.plan),
        "extrinsic_hash": row.extrinsic_hash,
        "included_block": row.included_block,
        "commit_reveal": row.commit_reveal,
        "reveal_round": row.reveal_round,
        "reveal_epoch": row.reveal_epoch,
        "created_at": row.created_at.isoformat(),
        "seen_block": row.seen_block,
        "seen_at": row.seen_at.isoformat(),
    }


def standing_table(standing: Standing, settings: Settings) -> Table:
    """The facts, as somebody reads them."""
    about = facts(standing, settings)
    table = Table(title=f"subnet {settings.netuid} at {about['endpoint']}", show_header=False)
    if about["block"] is None:
        table.add_row("metagraph", "not seen yet")
        return table
    subnet = standing.subnet
    assert subnet is not None
    age_s = (standing.now - subnet.taken_at).total_seconds()
    table.add_row("metagraph", f"block {subnet.block}, {age_s:.0f} s old, {len(subnet.neurons)} neurons")
    table.add_row("runtime", f"spec_version {subnet.spec_version}")
    table.add_row("hotkey", _who(about))
    if about["registered"]:
        table.add_row("permit", "yes" if about["validator_permit"] else "no")
        table.add_row("stake", f"{about['stake']:.9g}, at least {about['stake_threshold']:.9g} is asked for")
        table.add_row("address", about["serves_at"] or "none announced: `loosh chain serve`")
        table.add_row("last weights", _last_update(about))
        table.add_row("next weights", escape(next_weights(about, settings, standing.now)))
    table.add_row("weights", _newest(standing.rows[0]) if standing.rows else "never set from here")
    return table


def _who(about: dict[str, Any]) -> str:
    if about["hotkey"] is None:
        return "cannot be read: check WALLET_PATH, WALLET_NAME and HOTKEY_NAME, or run `loosh wallet new`"
    where = f"uid {about['uid']}" if about["registered"] else "not registered"
    return f"{about['hotkey']}, {where}"


def _last_update(about: dict[str, Any]) -> str:
    cutoff = f"the cutoff is {about['activity_cutoff_blocks']}, the rate limit {about['rate_limit_blocks']}"
    if not about["last_update"]:
        return f"never; {cutoff}"
    return f"block {about['last_update']}, {about['blocks_since_update']} blocks ago ({about['mode']}); {cutoff}"


def next_weights(about: Mapping[str, Any], settings: Settings, now: datetime) -> str:
    """When weights can be set next, in words, by the `facts` of a standing."""
    looks = who_sets(settings)
    due_s = Countdown.of(about, now).due_s
    if due_s is not None and due_s <= 0:
        return f"due since {_in_words(-due_s)}: set by {looks}"
    if about["not_yet"] is None:
        return f"may be set now: by {looks}"
    if about["due_block"] is None:
        return str(about["not_yet"])
    at = f"at block {about['due_block']}"
    if due_s is None:
        return at
    clock = datetime.fromisoformat(about["due_at"]).astimezone(UTC)
    return f"{at}, in {_in_words(due_s)} at {about['block_s']:.3g} s a block, about {clock:%H:%M:%S} UTC"


def who_sets(settings: Settings) -> str:
    """Who sets weights that are due, and what it takes."""
    rounds = f"{settings.weights_min_rounds} scored rounds (WEIGHTS_MIN_ROUNDS)"
    return f"weights_schedule, which looks every {TICK_MINUTES} minutes and wants {rounds}"


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < ONE_MINUTE_S else f"{seconds / 60:.3g} minutes"


def _newest(row: SubmissionRow) -> str:
    return escape(f"{row.state} at block {row.seen_block}, {len(row.plan.weights)} uids: {row.reason}")


def alerts_table(found: list[Alert]) -> Table:
    table = Table("alert", "what", "what to do", title="on the chain, to be looked at")
    for alert in found:
        table.add_row(alert.code, escape(alert.text), escape(alert.action))
    return table
