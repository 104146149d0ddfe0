"""Whether others can reach the ingress: what it binds, what the chain says of it, and what a firewall must let in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from loosh_pipeline.chain.wallet import hotkey_of
from loosh_pipeline.doctor.finding import Finding, look, ok
from loosh_pipeline.domain import Metagraph, Neuron
from loosh_pipeline.errors import WireError
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.model import is_loopback
from loosh_pipeline.wire.addresses import announceable

SUBJECT = "firewall"


def reach(settings: Settings, subnet: Metagraph | None, devnet: bool) -> Iterator[Finding]:
    """`subnet`: as seen just now. Nobody inside can tell whether a firewall lets strangers in: how to try is said."""
    if devnet:
        yield ok(SUBJECT, "a subnet on this machine: nobody has to reach the ingress from elsewhere")
        return
    if is_loopback(settings.api_host):
        said = f"the ingress is for this machine alone (API_HOST={settings.api_host})"
        yield look(SUBJECT, said, "right behind a proxy on this machine; else set API_HOST=0.0.0.0")
    hotkey = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    own = None if subnet is None or hotkey is None else subnet.by_hotkey().get(hotkey)
    if own is None:
        yield ok(SUBJECT, f"port {settings.api_port} must be open: {_opening(settings.api_port)}")
    elif not own.serves:
        said = "the chain has no address of this validator, so the Challenge API cannot find it there"
        yield look(SUBJECT, said, f"loosh chain serve --ip <public address> (port {settings.api_port})")
    else:
        yield _announced(own, settings)


def _announced(own: Neuron, settings: Settings) -> Finding:
    where = f"{own.ip}:{own.port}"
    try:
        address = announceable(str(own.ip), own.port, allow_private=settings.allow_private_addresses)
    except WireError as error:
        return look(SUBJECT, f"the chain says {where}: {error}", "loosh chain serve --ip <public address>")
    ports = {settings.api_port} | ({settings.public_url.port} if settings.public_url else set())
    if own.port not in ports:
        todo = f"loosh chain serve --ip {own.ip}, unless port {own.port} is forwarded to {settings.api_port}"
        return look(SUBJECT, f"the chain says {where}, and the ingress listens on {settings.api_port} (API_PORT)", todo)
    test = f"from another machine: curl -m 5 {address.url}/availability"
    return ok(SUBJECT, f"announced as {where}; try it {test}. No answer: {_opening(own.port)}")


def _opening(port: int) -> str:
    """How this machine's firewall lets a port in, by the tool that is there; a provider's own is beyond it."""
    if shutil.which("ufw"):
        how = f"sudo ufw allow {port}/tcp"
    elif shutil.which("nft"):
        how = f"sudo nft add rule inet filter input tcp dport {port} accept"
    else:
        how = f"let TCP {port} in"
    return f"{how}, in the provider's firewall too"
