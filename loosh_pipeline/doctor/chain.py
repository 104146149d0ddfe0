"""The chain: its endpoints, and how this validator stands on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from loosh_pipeline.chain.alerts import Alert, Standing, alerts
from loosh_pipeline.chain.look import NodeSeen
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.reads import AHEAD_S
from loosh_pipeline.chain.wallet import coldkey_of, hotkey_of
from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.doctor.names import IS_IT_RIGHT
from loosh_pipeline.domain import Metagraph
from loosh_pipeline.errors import ChainError
from loosh_pipeline.settings import Settings

SNAPSHOT_WITHIN_S = 7.0
SETTINGS = "SUBTENSOR_ADDRESS and SUBTENSOR_FALLBACKS"


def serves(node: NodeSeen, stale_after_s: float) -> bool:
    """Whether it answers with a block of now; with this machine's clock right, what the validator takes."""
    return node.problem is None and (node.age_s is None or -AHEAD_S <= node.age_s <= stale_after_s)


def endpoints(nodes: Sequence[NodeSeen], stale_after_s: float, clock_is_right: bool = True) -> Iterator[Finding]:
    """A line an endpoint; only when none serves is something wrong."""
    none = not any(serves(node, stale_after_s) for node in nodes)
    for position, node in enumerate(nodes):
        setting = "SUBTENSOR_FALLBACKS" if position else "SUBTENSOR_ADDRESS"
        if (fault := _fault(node, nodes, stale_after_s, clock_is_right)) is None:
            yield ok("chain", f"{node.where}: block {node.block}, {_aged(node)}, answers in {node.latency_ms:.0f} ms")
            continue
        said, todo = f"{node.where} ({setting}) {fault[0]}", fault[1].format(setting=setting)
        yield wrong("chain", said, todo) if none else look("chain", said, todo)


def _fault(
    node: NodeSeen, nodes: Sequence[NodeSeen], stale_after_s: float, clock_is_right: bool
) -> tuple[str, str] | None:
    first, alone = nodes[0], len(nodes) == 1
    if node.unresolved:
        return str(node.problem), f"{IS_IT_RIGHT}, or set {{setting}} to another"
    if node.problem is not None:
        second = "; name a second in SUBTENSOR_FALLBACKS" if alone else ""
        return node.problem, f"start the node, or set {{setting}} to one that runs{second}"
    if None not in (first.genesis_hash, node.genesis_hash) and node.genesis_hash != first.genesis_hash:
        return f"serves another chain than {first.where}", f"{SETTINGS} must be of one network: set {{setting}} right"
    if serves(node, stale_after_s):
        return None
    if not clock_is_right:
        return f"knows no block of now by this machine's clock ({_aged(node)})", "set the clock right first"
    return f"knows no block of now ({_aged(node)})", "the node lags or the chain stands still: set {setting} to another"


def _aged(node: NodeSeen) -> str:
    return "without a time" if node.age_s is None else f"{node.age_s:.0f} s old"


def snapshot_of(settings: Settings, endpoint: str) -> Metagraph:
    """The subnet at one endpoint, by the SDK, leaving nothing behind. Raises ChainError."""
    with tempfile.TemporaryDirectory() as nowhere:
        alone = {"subtensor_address": endpoint, "subtensor_fallbacks": (), "chain_timeout_s": SNAPSHOT_WITHIN_S}
        asking = settings.model_copy(update={**alone, "loosh_home": Path(nowhere)})
        return ProcessChain(asking).snapshot(settings.netuid)


def subnet_seen(
    settings: Settings, nodes: Sequence[NodeSeen], snapshot: Callable[[str], Metagraph]
) -> Metagraph | ChainError | None:
    """The subnet at the first endpoint that serves, or why it could not be read there; None when none serves."""
    serving = [serves(node, settings.chain_stale_after_s) for node in nodes]
    if not any(serving):
        return None
    try:
        return snapshot(settings.chain_endpoints[serving.index(True)])
    except ChainError as error:
        return error


def standing(settings: Settings, seen: Metagraph | ChainError | None, now: datetime) -> Iterator[Finding]:
    """Registration, permit and stake of the hotkey."""
    hotkey = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    if seen is None:
        yield look("registration", "not known: no endpoint of the chain serves", "put chain or clock right first")
    elif isinstance(seen, ChainError):
        yield wrong("registration", *parts(seen))
    elif hotkey is None:
        yield look("registration", "not known without a hotkey", "put the wallet right first")
    else:
        coldkey = coldkey_of(settings.wallet_path, settings.wallet_name)
        yield from _of(Standing(now, hotkey, seen, coldkey=coldkey), seen)


def _of(stands: Standing, subnet: Metagraph) -> Iterator[Finding]:
    found, own = {alert.code: alert for alert in alerts(stands)}, stands.own
    if own is None:
        alert = found["not_registered"]
        yield wrong("registration", alert.text, f"check WALLET_NAME, HOTKEY_NAME and NETUID; if right, {alert.action}")
        return
    mismatch = found.get("signer_mismatch")
    yield _told("registration", mismatch) or ok("registration", f"uid {own.uid} on subnet {subnet.netuid}")
    enough = f"stake {own.stake:.9g}, at least {subnet.stake_threshold:.9g} is asked for"
    lacks = [_told("permit", found.get(code)) for code in ("no_permit", "low_stake")]
    yield from [each for each in lacks if each is not None] or [ok("permit", f"validator permit, {enough}")]


def _told(subject: str, alert: Alert | None) -> Finding | None:
    return None if alert is None else wrong(subject, alert.text, alert.action)
