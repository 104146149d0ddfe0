"""`loosh chain …`: how the validator stands on the chain, and where it is to be reached."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.cli.telling import AsJson, err, out, tell_json
from loosh_pipeline.domain import Metagraph, Neuron
from loosh_pipeline.errors import ChainError, ConfigError, WireError
from loosh_pipeline.settings import Settings, get_settings


def status(
    as_json: AsJson = False,
    stored: Annotated[bool, typer.Option("--stored", help="by the newest stored snapshot, without asking")] = False,
    check: Annotated[bool, typer.Option("--check", help="for monitoring: end with 1 when there is an alert")] = False,
) -> None:
    """Say how this validator stands: registration, permit, stake, last and next weights, and what to look at."""
    from loosh_pipeline.chain.alerts import alerts
    from loosh_pipeline.chain_status import alerts_table, facts, standing_table, stored_standing
    from loosh_pipeline.store.inbox import Inbox

    settings = get_settings()
    subnet, problem = (None, None) if stored else _seen(settings)
    engine = Inbox.open(settings.inbox_url).engine
    standing = stored_standing(settings, engine, datetime.now(UTC), subnet=subnet)
    found = alerts(standing)
    if as_json:
        tell_json(facts(standing, settings) | {"chain_error": problem})
    else:
        if problem is not None:
            err.print(f"[yellow]the chain could not be read, this is what was seen last:[/] {escape(problem)}")
        out.print(standing_table(standing, settings))
        if found:
            out.print(alerts_table(found))
    if check and (found or problem is not None):
        raise typer.Exit(1)


def _seen(settings: Settings) -> tuple[Metagraph | None, str | None]:
    from loosh_pipeline.chain.process import ProcessChain

    try:
        return ProcessChain(settings).snapshot(settings.netuid), None
    except ChainError as error:
        return None, str(error)


def acknowledge(as_json: AsJson = False) -> None:
    """Say that the chain's present runtime is fine: its change is no longer an alert."""
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.spec_versions import SpecVersions

    versions = SpecVersions(Inbox.open(get_settings().inbox_url).engine)
    change = versions.change()
    versions.acknowledge()
    if as_json:
        tell_json({"acknowledged_spec_version": None if change is None else change.after})
    elif change is None:
        out.print("there was no change to acknowledge")
    else:
        out.print(f"spec_version {change.after} is taken as it is")


def serve(
    ip: Annotated[str, typer.Option(help="the public address of this validator")],
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="API_PORT by default")] = None,
    as_json: AsJson = False,
) -> None:
    """Announce on chain where this validator is reached; to be repeated when address or port change."""
    from loosh_pipeline.chain.process import ProcessChain
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.leases import Leases
    from loosh_pipeline.store.submissions import LEASE
    from loosh_pipeline.weight_setting import lease_length, utc_now

    settings = get_settings()
    leases = Leases(Inbox.open(settings.inbox_url).engine)
    # Signed at the same time, this and weights would have the same nonce, and one of the two be refused.
    with leases.held(LEASE, f"loosh chain serve ({os.getpid()})", lease_length(settings), utc_now):
        announce(ProcessChain(settings), settings, ip, port or settings.api_port, as_json)


def announce(chain: Chain, settings: Settings, ip: str, port: int, as_json: bool = False) -> None:
    """Sends only what the chain does not say already.

    Raises `ConfigError` for an address that others cannot reach or a hotkey that is not registered, `ChainError` when
    the chain refuses.
    """
    from loosh_pipeline.wire.addresses import announceable

    try:
        address = announceable(ip, port, allow_private=settings.allow_private_addresses)
    except WireError as error:
        raise ConfigError(f"--ip {ip} --port {port}: {error}") from error
    own = _own(chain, settings)
    before = f"{own.ip}:{own.port}" if own.serves else None
    if (own.ip, own.port) == (address.host, address.port):
        _tell(own.uid, before, address.authority, None, as_json)
        return
    said = chain.serve_axon(settings.netuid, address.host, address.port)
    if not said.success:
        raise ChainError(f"the chain refused the address: {said.error_code}: {said.error}")
    _tell(own.uid, before, address.authority, said.included_block, as_json)


def _tell(uid: int, before: str | None, now: str, block: int | None, as_json: bool) -> None:
    """Where the validator was and is reached by what the chain says; `block`: None when nothing had to be sent."""
    if as_json:
        tell_json({"uid": uid, "before": before, "now": now, "block": block})
    elif block is None:
        out.print(f"uid {uid} serves at {now} already; nothing to do")
    else:
        out.print(f"uid {uid} served at {before or 'nowhere'}, now at {now} (block {block})")


def _own(chain: Chain, settings: Settings) -> Neuron:
    own_hotkey, subnet = chain.identity(), chain.snapshot(settings.netuid)
    own = subnet.by_hotkey().get(own_hotkey)
    if own is None:
        raise ConfigError(
            f"{own_hotkey} is not registered on subnet {settings.netuid}; register it with `btcli` first, from the "
            "machine that holds the coldkey"
        )
    return own
