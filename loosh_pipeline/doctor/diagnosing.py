"""The whole of it: what is looked at once, the checks over it, and what they say, in the order in which it matters.

Nothing is changed on disk. Network looks are made side by side, and what several checks need is asked for once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from loosh_pipeline.chain.endpoints import shown
from loosh_pipeline.chain.look import NodeSeen, look_at
from loosh_pipeline.chain.wallet import HotkeySigner
from loosh_pipeline.doctor import (
    api,
    chain,
    choices,
    clock,
    disks,
    history,
    machine,
    models,
    ports,
    reach,
    stores,
    wallet,
)
from loosh_pipeline.doctor.checkup import Check, examined, in_thread
from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.doctor.names import Names, llm_url, named
from loosh_pipeline.domain import Metagraph
from loosh_pipeline.errors import ChainError
from loosh_pipeline.lock import runs_in
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import EMBEDDER, EMBEDS, INGRESS, KEEPS, RUNS, WORKERS
from loosh_pipeline.settings.types import SERVICES
from loosh_pipeline.wire.api_look import ApiSeen, look_at_api

CHAIN_WITHIN_S = API_WITHIN_S = 8.0
CONCERNS = {
    **dict.fromkeys(("names", "database", "tables", "clock", "wallet"), KEEPS),
    "broker": RUNS,
    **dict.fromkeys(("chain", "registration", "pay", "embedding model"), RUNS),
    **dict.fromkeys(("challenge API", "llm"), WORKERS),
    **dict.fromkeys(("firewall", "intake", "proxy", "pages", "canaries"), frozenset({INGRESS})),
    "embedder": EMBEDS | {EMBEDDER},
}
"""Services that have to do with a subject; every other subject concerns every machine."""


@dataclass(frozen=True, slots=True)
class Around:
    """What was seen of others, or will be. `runs`: whether this validator does, here."""

    settings: Settings
    runs: bool
    devnet: bool
    nodes: Future[list[NodeSeen]]
    api: Future[ApiSeen | None]
    subnet: Future[Metagraph | ChainError | None]
    names: Names


def diagnosis(settings: Settings) -> list[Finding]:
    """Everything that is looked at. Takes some 17 seconds at most, whatever hangs."""
    return examined([*program(), *checks(around(settings))])


def program() -> list[Check]:
    """What can be looked at without settings."""
    return [Check("python", machine.python), Check("dependencies", machine.dependencies)]


def around(settings: Settings) -> Around:
    """Begin to look."""
    names = Names(named(settings))
    signer = wallet.signer_of(settings)
    nodes = in_thread(lambda: _nodes(settings, names))
    subnet = in_thread(lambda: chain.subnet_seen(settings, nodes.result(), lambda at: chain.snapshot_of(settings, at)))
    usable = signer if isinstance(signer, HotkeySigner) else None
    seen = in_thread(lambda: _api(settings, usable, names))
    return Around(settings, runs_in(settings.home), is_devnet(settings), nodes, seen, subnet, names)


def _nodes(settings: Settings, names: Names) -> list[NodeSeen]:
    looking = [in_thread(lambda at=at: _node(at, names)) for at in settings.chain_endpoints]  # type: ignore[misc]
    return [each.result() for each in looking]


def _node(at: str, names: Names) -> NodeSeen:
    begun_s = time.monotonic()
    if (why := names.fault(at)) is not None:
        return NodeSeen(shown(at), problem=why, unresolved=True)
    return look_at(at, _left(CHAIN_WITHIN_S, begun_s))


def _api(settings: Settings, signer: HotkeySigner | None, names: Names) -> ApiSeen | None:
    begun_s, url = time.monotonic(), settings.challenge_api_url
    if url is None:
        return None
    if (why := names.fault(str(url))) is not None:
        return ApiSeen(unreachable=why, unresolved=True)
    return look_at_api(str(url), signer, _left(API_WITHIN_S, begun_s))


def _left(within_s: float, begun_s: float) -> float:
    """What a name that took long leaves, in tenths of a second."""
    return round(within_s - (time.monotonic() - begun_s), 1)


def is_devnet(settings: Settings) -> bool:
    """Whether the subnet is one of `loosh devnet`: on this machine, with miners on private addresses."""
    host = urlsplit(settings.subtensor_address).hostname
    return settings.allow_private_addresses and host in ("127.0.0.1", "localhost", "::1")


def checks(seen: Around) -> list[Check]:
    """In the order in which they are told: those that concern what runs on this machine."""
    services = CONCERNS.get
    return [each for each in _all_checks(seen) if seen.settings.runs_here(*services(each.subject, SERVICES))]


def _all_checks(seen: Around) -> list[Check]:
    settings = seen.settings
    names, broker = seen.names, settings.celery_broker_url.get_secret_value()
    embedder = settings.embedding_url or settings.embedder_url
    return [
        Check("processor", machine.cores),
        Check("memory", machine.memory),
        Check("gpu", lambda: machine.gpu(backend=settings.embedder_backend)),
        Check("disk", lambda: disks.disks(settings)),
        Check("ports", lambda: ports.ports(settings, seen.runs)),
        Check("names", seen.names.found),
        names.first(settings.database_url, Check("database", lambda: stores.databases(settings), needed=True)),
        Check("tables", lambda: stores.tables(settings), needed=True),
        names.first(settings.database_url, Check("history", lambda: history.history(settings, seen.runs))),
        names.first(broker, Check("broker", lambda: stores.broker(settings), needed=True)),
        Check("clock", lambda: [_clock(seen)]),
        Check("wallet", lambda: wallet.wallet(settings, seen.devnet)),
        Check("chain", lambda: _chain(seen), needed=True),
        Check("registration", lambda: chain.standing(settings, seen.subnet.result(), datetime.now(UTC))),
        Check("challenge API", lambda: api.challenge_api(settings, seen.api.result()), needed=True),
        Check("firewall", lambda: reach.reach(settings, _subnet(seen), seen.devnet)),
        names.first(embedder, Check("embedder", lambda: models.embedder(settings, seen.runs), needed=True)),
        names.first(llm_url(settings), Check("llm", lambda: models.llm(settings, models.answering_llm))),
        Check("validator", lambda: stores.running(settings, seen.runs)),
        Check("machines", lambda: stores.machines(settings)),
        *(
            Check(subject, lambda choice=choice: [choice(settings, seen.devnet)])  # type: ignore[misc]
            for subject, choice in choices.CHOICES.items()
        ),
    ]


def _clock(seen: Around) -> Finding:
    told = seen.api.result()
    offset_s = None if told is None else told.offset_s
    return clock.clock(
        seen.nodes.result(), offset_s, seen.settings.chain_stale_after_s, clock.kept_by_ntp(), seen.devnet
    )


def _chain(seen: Around) -> Iterator[Finding]:
    right = _clock(seen).verdict != "wrong"
    return chain.endpoints(seen.nodes.result(), seen.settings.chain_stale_after_s, right)


def _subnet(seen: Around) -> Metagraph | None:
    found = seen.subnet.result()
    return found if isinstance(found, Metagraph) else None
