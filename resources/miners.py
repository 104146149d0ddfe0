"""Asking miners over the wire."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.domain import Availability, Challenge, Hotkey, Neuron, Response
from loosh_pipeline.errors import StoreError, WireError
from loosh_pipeline.settings import PORTS, Settings, get_settings
from loosh_pipeline.wire.addresses import AddressRules, canonical_ip
from loosh_pipeline.wire.availability import probe_miners
from loosh_pipeline.wire.client_sessions import SessionBook, peer_name
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.miner_client import ask_miners
from resources.store import Store

logger = logging.getLogger(__name__)


class Miners(Protocol):
    """Whoever can put a challenge to miners, or look whether they are there: one result a neuron, in order."""

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]: ...

    def probe(self, neurons: Sequence[Neuron], signer: Signer) -> tuple[Availability, ...]: ...


class WireMiners:
    """The real miners, over HTTP and the fiber protocol. Sessions with them outlive a run and a restart."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]:
        rules = self._rules(signer)
        book = self._load_sessions(neurons, signer, rules)
        asking = ask_miners(
            neurons,
            challenge,
            signer=signer,
            timeout_s=self._settings.challenge_timeout_s,
            max_response_bytes=self._settings.max_response_bytes,
            rules=rules,
            sessions=book,
        )
        with undisturbed():
            responses = asyncio.run(asking)
        self._save_sessions(book)
        return responses

    def probe(self, neurons: Sequence[Neuron], signer: Signer) -> tuple[Availability, ...]:
        return asyncio.run(probe_miners(neurons, signer.ss58_address, rules=self._rules(signer)))

    def _rules(self, signer: Signer) -> AddressRules:
        newest = self._store.newest_metagraph()
        own = None if newest is None else newest.by_hotkey().get(Hotkey(signer.ss58_address))
        ip = None if own is None else canonical_ip(own.ip)
        return AddressRules(
            allow_private=self._settings.allow_private_addresses,
            own_ips=frozenset() if ip is None else frozenset({ip}),
            own_ports=frozenset(getattr(self._settings, name) for name in PORTS),
        )

    def _load_sessions(self, neurons: Sequence[Neuron], signer: Signer, rules: AddressRules) -> SessionBook:
        """Known sessions; none when they cannot be read, which costs a handshake and no challenge."""
        names = []
        for neuron in neurons:
            try:
                url = rules.endpoint(neuron.ip, neuron.port).url
            except WireError:
                continue  # whoever cannot be asked has no session, and its row says why
            names.append(peer_name(signer.ss58_address, neuron.hotkey, url))
        try:
            return self._store.sessions.load(names, datetime.now(UTC))
        except (SQLAlchemyError, StoreError) as error:
            logger.warning("sessions with miners cannot be read, so new ones are opened: %s", error)
            return SessionBook()

    def _save_sessions(self, book: SessionBook) -> None:
        """Answers are never lost for a session that could not be kept."""
        try:
            self._store.sessions.save(book, datetime.now(UTC))
        except (SQLAlchemyError, StoreError) as error:
            logger.warning("sessions with miners cannot be kept, so the next challenge opens new ones: %s", error)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage is collected while miners are timed.

    A full collection takes a quarter of a second in a process that has loaded Dagster: somebody would look that slow.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dg.resource(
    required_resource_keys={"store"},
    description="Miners at the addresses that the metagraph gives, and their sessions.",
)
def miners_resource(context: dg.InitResourceContext) -> Miners:
    return WireMiners(get_settings(), context.resources.store)
