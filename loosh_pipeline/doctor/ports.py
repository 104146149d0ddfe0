"""Whether the ports of the validator's processes are free, or held by those very processes."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loosh_pipeline.doctor.finding import Finding, look, ok, wrong
from loosh_pipeline.lock import held_by
from loosh_pipeline.processes import family_of, processes_of
from loosh_pipeline.services import LOOPBACK, embeds_here
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import EMBEDDER, INGRESS

LISTENING = "0A"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port."""

    pid: int
    program: str


def listened(settings: Settings) -> Mapping[str, tuple[str, int]]:
    """Where the processes of this validator listen, by the setting of the port."""
    ports = {
        INGRESS: ("API_PORT", settings.api_host, settings.api_port),
        "dagster-webserver": ("DAGSTER_PORT", settings.dagster_host, settings.dagster_port),
        "code-server": ("CODE_SERVER_PORT", LOOPBACK, settings.code_server_port),
        EMBEDDER: ("EMBEDDER_PORT", settings.embedder_host, settings.embedder_port),
    }
    here = {name for name in ports if settings.runs_here(name) and (name != EMBEDDER or embeds_here(settings))}
    return {setting: (host, port) for name, (setting, host, port) in ports.items() if name in here}


def ports(settings: Settings, runs: bool, holder: Callable[[int], Holder | None] | None = None) -> Iterator[Finding]:
    """`runs`: whether this validator runs, so that its ports should be held, by it."""
    ours = {each.pid for each in processes_of(settings.home)} | _running_in(settings.home, runs)
    wanted, free, held = listened(settings), [], []
    for setting, (host, port) in wanted.items():
        why = not_bindable(host, port)
        if why is None:
            free.append(setting)
        elif why != errno.EADDRINUSE:
            yield _cannot(setting, host, port, why)
        elif (found := holder(port) if holder else holder_of(port, host)) is not None and found.pid in ours:
            held.append(setting)
        else:
            yield _taken(setting, port, found)
    if runs and free:
        yield look(
            "ports",
            f"a validator runs here and does not listen on {_named(wanted, free)}",
            "it may be starting; else see LOOSH_HOME/logs",
        )
    elif free or held:
        both = [f"{_named(wanted, names)} {what}" for names, what in ((free, "free"), (held, "held by this validator"))
                if names]  # fmt: skip
        yield ok("ports", ", ".join(both))


def _running_in(home: Path, runs: bool) -> set[int]:
    """Processes of the validator that holds the directory, whatever their environment calls it."""
    pid = held_by(home) if runs else None
    return set() if pid is None else family_of(pid)


def _named(wanted: Mapping[str, tuple[str, int]], settings: list[str]) -> str:
    return ", ".join(f"{wanted[each][1]} ({each})" for each in settings)


def _taken(setting: str, port: int, found: Holder | None) -> Finding:
    return wrong("ports", in_use(setting, port, found), f"stop it, or set {setting} to a free port")


def in_use(setting: str, port: int, found: Holder | None) -> str:
    by = f"{found.program} (pid {found.pid})" if found else "a program of another user"
    return f"port {port} ({setting}) is in use by {by}"


def _cannot(setting: str, host: str, port: int, why: int) -> Finding:
    if why == errno.EACCES:
        todo = f"set {setting} to a port from 1024 on, and let a proxy take the low one"
        return wrong("ports", f"port {port} ({setting}) is for root alone", todo)
    if why == errno.EADDRNOTAVAIL and host.startswith("["):
        return wrong("ports", f"API_HOST ({host}) is no address", f"write it without brackets: {host.strip('[]')}")
    if why == errno.EADDRNOTAVAIL:
        return wrong(
            "ports", f"API_HOST ({host}) is no address of this machine", "set API_HOST=0.0.0.0, or one of its own"
        )
    said = f"port {port} ({setting}) at {host} cannot be listened on: {errno.errorcode.get(why, why)}"
    return wrong("ports", said, f"set API_HOST and {setting} to what this machine can listen on")


def not_bindable(host: str, port: int) -> int | None:
    """The error number with which listening there fails; None when it would not."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: not held by closed connections
            tried.bind(address)  # refused where somebody listens; we do not, so that nobody connects to us
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno
    return None


def holder_of(port: int, host: str = "") -> Holder | None:
    """The process that listens on a port so that nobody else can at `host`, through /proc.

    None for one of another user, or where there is no /proc.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port, host)}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (directory / "fd").iterdir()):
                words = (directory / "cmdline").read_bytes().split(b"\0")
                return Holder(int(directory.name), b" ".join(words).decode("utf-8", "replace").strip()[:80])
        except OSError:
            continue  # it ended while we looked, or is another user's
    return None


def _listening(port: int, host: str) -> Iterator[str]:
    """Inodes of the sockets that listen on a port: columns of /proc/net/tcp are address:port, state, and the tenth."""
    wanted = _address(host)
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in (line.split() for line in lines):
            address, _, number = columns[1].rpartition(":")
            listens = columns[3] == LISTENING and int(number, 16) == port
            if listens and _excludes(_written(address), wanted):
                yield columns[9]


def _address(host: str) -> Address:
    """What a name or an address means for who listens there; all of this machine's where that cannot be told."""
    try:
        address = ipaddress.ip_address(str(socket.getaddrinfo(host or "0.0.0.0", None)[0][4][0]))
    except (OSError, ValueError):
        return ipaddress.ip_address("0.0.0.0")
    return address


def _written(words: str) -> Address:
    """An address as /proc/net/tcp writes it: words of four bytes, each in the order of this machine."""
    size = 8
    parts = [int(words[at : at + size], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), size)]
    address = ipaddress.ip_address(b"".join(parts))
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _excludes(listening: Address, wanted: Address) -> bool:
    """Whether one who listens at an address keeps others from another: the same, or where either is all there are."""
    return listening == wanted or listening.is_unspecified or wanted.is_unspecified
