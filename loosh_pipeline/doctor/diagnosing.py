"""The whole of it: what is looked at once, the checks over it, and what they say, in the order in which it matters.

Nothing is changed on disk. Network looks are made side by side, and what several checks need is asked for once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from loosh_pipeline.chain.look import NodeSeen, look_at
from loosh_pipeline.chain.wallet import HotkeySigner
from loosh_pipeline.doctor import api, chain, choices, clock, disks, machine, models, ports, reach, stores, wallet
from loosh_pipeline.doctor.checkup import Check, examined, in_thread
from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.domain import Metagraph
from loosh_pipeline.errors import ChainError
from loosh_pipeline.lock import runs_in
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.api_look import ApiSeen, look_at_api

CHAIN_WITHIN_S = API_WITHIN_S = 8.0


@dataclass(frozen=True, slots=True)
class Around:
    """What was seen of others, or will be. `runs`: whether this validator does, here."""

    settings: Settings
    runs: bool
    devnet: bool
    nodes: Future[list[NodeSeen]]
    api: Future[ApiSeen | None]
    subnet: Future[Metagraph | ChainError | None]


def diagnosis(settings: Settings) -> list[Finding]:
    """Everything that is looked at. Takes some 17 seconds at most, whatever hangs."""
    return examined([*program(), *checks(around(settings))])


def program() -> list[Check]:
    """What can be looked at without settings."""
    return [Check("python", machine.python), Check("dependencies", machine.dependencies)]


def around(settings: Settings) -> Around:
    """Begin to look."""
    signer = wallet.signer_of(settings)
    nodes = in_thread(lambda: _nodes(settings))
    subnet = in_thread(lambda: chain.subnet_seen(settings, nodes.result(), lambda at: chain.snapshot_of(settings, at)))
    usable = signer if isinstance(signer, HotkeySigner) else None
    url = settings.challenge_api_url
    seen = in_thread(lambda: None if url is None else look_at_api(str(url), usable, API_WITHIN_S))
    return Around(settings, runs_in(settings.home), is_devnet(settings), nodes, seen, subnet)


def _nodes(settings: Settings) -> list[NodeSeen]:
    looking = [in_thread(lambda at=at: look_at(at, CHAIN_WITHIN_S)) for at in settings.chain_endpoints]  # type: ignore[misc]
    return [each.result() for each in looking]


def is_devnet(settings: Settings) -> bool:
    """Whether the subnet is one of `loosh devnet`: on this machine, with miners on private addresses."""
    host = urlsplit(settings.subtensor_address).hostname
    return settings.allow_private_addresses and host in ("127.0.0.1", "localhost", "::1")


def checks(seen: Around) -> list[Check]:
    """In the order in which they are told."""
    settings = seen.settings
    return [
        Check("processor", machine.cores),
        Check("memory", machine.memory),
        Check("gpu", lambda: machine.gpu(backend=settings.embedder_backend)),
        Check("disk", lambda: disks.disks(settings)),
        Check("ports", lambda: ports.ports(settings, seen.runs)),
        Check("database", lambda: stores.databases(settings)),
        Check("broker", lambda: stores.broker(settings)),
        Check("clock", lambda: [_clock(seen)]),
        Check("wallet", lambda: wallet.wallet(settings, seen.devnet)),
        Check("chain", lambda: _chain(seen)),
        Check("registration", lambda: chain.standing(settings, seen.subnet.result(), datetime.now(UTC))),
        Check("challenge API", lambda: api.challenge_api(settings, seen.api.result())),
        Check("firewall", lambda: reach.reach(settings, _subnet(seen), seen.devnet)),
        Check("embedder", lambda: models.embedder(settings, seen.runs)),
        Check("llm", lambda: models.llm(settings, models.answering_llm)),
        Check("validator", lambda: stores.running(settings, seen.runs)),
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
