"""The chain, one killable process an operation, at the first endpoint that serves.

The SDK can wait five minutes for a silent node and longer for a half-open socket, and no timeout of asyncio ends a
thread that hangs. A process can be killed: every operation ends in time, and what the SDK leaks or writes to the
terminal ends with it. It costs half a second.

Endpoints are tried in turn, each with its share of the time. One whose newest block is old counts as failed, and one
that serves another chain than the first of them. An operation that sends goes on to the next one only while nothing
was sent; what the chain itself refuses is asked of no other.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from loosh_pipeline import errors
from loosh_pipeline.chain.conversation import Conversation
from loosh_pipeline.chain.endpoints import ENDPOINTS_FILE, Endpoints, digest, hushed, shown
from loosh_pipeline.chain.messages import ANSWER, GO, REQUEST, RESULTS, SENDING, Answer, ChainRequest, Operation
from loosh_pipeline.chain.port import BeforeSending, send_at_once
from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, Submission, WeightPlan
from loosh_pipeline.errors import (
    ChainError,
    ChainRefusal,
    ChainTimeout,
    LooshError,
    NotSubmitted,
    StaleChain,
    WrongChain,
)
from loosh_pipeline.settings import Settings

log = logging.getLogger(__name__)

READ_WITHIN_S = 40.0
"""Most that reading, or preparing to send, takes over all endpoints: Dagster cuts a tick off at 60 s."""
_OUTCOME_UNKNOWN = "; whether it was submitted is unknown: read the chain before submitting again"


class ProcessChain:
    """Implements `Chain` at `SUBTENSOR_ADDRESS` and its fallbacks with the configured hotkey. Holds no connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = Endpoints(settings.chain_endpoints, settings.home / ENDPOINTS_FILE)

    def snapshot(self, netuid: int) -> Metagraph:
        metagraph: Metagraph = self._run("snapshot", self._request(netuid))
        return metagraph

    def submit_weights(
        self, plan: WeightPlan, before_sending: BeforeSending = send_at_once, expected_genesis: str | None = None
    ) -> Submission:
        request = replace(self._request(plan.netuid), plan=replace(plan, dropped={}), expected_genesis=expected_genesis)
        submission: Submission = self._run("submit_weights", request, before_sending)
        return submission

    def observe(self, netuid: int, hotkey: Hotkey, expected_genesis: str | None = None) -> ObservedWeights:
        request = replace(self._request(netuid), hotkey=hotkey, expected_genesis=expected_genesis)
        observed: ObservedWeights = self._run("observe", request)
        return observed

    def block_hash(self, block: Block, expected_genesis: str | None = None) -> str | None:
        request = replace(self._request(self._settings.netuid), block=block, expected_genesis=expected_genesis)
        found: str | None = self._run("block_hash", request)
        return found

    def serve_axon(self, netuid: int, ip: str, port: int) -> Submission:
        submission: Submission = self._run("serve_axon", replace(self._request(netuid), ip=ip, port=port))
        return submission

    def identity(self) -> Hotkey:
        settings = self._settings
        signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
        return Hotkey(signer.ss58_address)

    def _request(self, netuid: int) -> ChainRequest:
        settings = self._settings
        return ChainRequest(
            endpoint=settings.subtensor_address,
            wallet_path=settings.wallet_path.expanduser().absolute(),
            wallet_name=settings.wallet_name,
            hotkey_name=settings.hotkey_name,
            deadline_s=settings.chain_timeout_s,
            stale_after_s=settings.chain_stale_after_s,
            netuid=netuid,
        )

    def _run(self, operation: Operation, request: ChainRequest, before_sending: BeforeSending = send_at_once) -> Any:
        """At each endpoint in turn, until one serves."""
        addresses = self._endpoints.in_order(datetime.now(UTC))
        until = time.monotonic() + min(self._settings.chain_timeout_s, READ_WITHIN_S)
        failures: list[ChainError] = []
        for position, address in enumerate(addresses):
            share_s = (until - time.monotonic()) / (len(addresses) - position)
            try:
                result = self._ask(operation, self._to(address, request), share_s, before_sending)
            except ChainRefusal:  # it answered, and so would the others
                self._endpoints.worked(address)
                raise
            except ChainError as error:
                self._endpoints.failed(address, datetime.now(UTC))
                if operation in SENDING and not isinstance(error, NotSubmitted | StaleChain | WrongChain):
                    raise
                if position < len(addresses) - 1:
                    log.warning("%s; asking the next endpoint", error)
                failures.append(error)
            else:
                self._endpoints.worked(address)
                if isinstance(result, Metagraph) and result.genesis_hash is not None:
                    self._endpoints.serves(address, result.genesis_hash)
                return result
        raise _together(failures)

    def _to(self, address: str, request: ChainRequest) -> ChainRequest:
        """Of one endpoint. What the first one serves is the chain that is meant; the others are held to that."""
        expected = request.expected_genesis or self._endpoints.meant_by(address)
        return replace(request, endpoint=address, expected_genesis=expected)

    def _ask(self, operation: Operation, request: ChainRequest, share_s: float, before_sending: BeforeSending) -> Any:
        inclusion_s = self._settings.chain_timeout_s if operation in SENDING else 0.0
        command = [sys.executable, "-m", "loosh_pipeline.chain", operation]
        with Conversation(command, self._environment(request.endpoint)) as process:
            said = REQUEST.dump_json(replace(request, deadline_s=share_s + inclusion_s)) + b"\n"
            answer = self._exchange(process, said, operation, request.endpoint, share_s)
            if answer.signed is not None:
                if (why := answer.signed.composed_here) is not None:
                    log.warning("%s; the call was composed here, without what it checks", why)
                before_sending(answer.signed)
                answer = self._exchange(process, GO, operation, request.endpoint, inclusion_s)
            if notes := process.notes():
                log.debug("%s said: %s", operation, self._hushed(notes))
        if answer.error_type is not None:
            raise _error(answer.error_type, self._hushed(answer.error))
        return RESULTS[operation].validate_python(answer.result)

    def _exchange(
        self, process: Conversation, said: bytes, operation: Operation, endpoint: str, within_s: float
    ) -> Answer:
        """The answer to that. A failure is a `NotSubmitted` where the operation sends, and nothing was sent yet."""
        certain, where = operation in SENDING and said != GO, shown(endpoint)
        suffix = _OUTCOME_UNKNOWN if said == GO else "; nothing was submitted" if certain else ""
        until = time.monotonic() + within_s
        try:
            process.say(said, within_s)
            line = process.hear(max(0.0, until - time.monotonic()))
        except TimeoutError as error:
            text = f"the chain at {where} did not answer {operation} within {within_s:.3g} s"
            advice = "; check SUBTENSOR_ADDRESS, name SUBTENSOR_FALLBACKS, or raise CHAIN_TIMEOUT_S"
            raise (NotSubmitted if certain else ChainTimeout)(text + advice + suffix) from error
        try:
            return ANSWER.validate_json(line)
        except ValidationError as error:
            text = f"the chain process for {where} ended with status {process.status} before it answered {operation}"
            notes = self._hushed(process.notes()) or "it said nothing"
            raise (NotSubmitted if certain else ChainError)(f"{text}: {notes}{suffix}") from error

    def _hushed(self, text: str) -> str:
        return hushed(text, *self._settings.chain_endpoints)

    def _environment(self, endpoint: str) -> dict[str, str]:
        # The SDK caches runtime metadata by genesis and version; by endpoint too, no two chains share a cache.
        cache = self._settings.home / "chain" / "runtime-cache" / digest(endpoint)
        return os.environ | {"BITTENSOR_RUNTIME_CACHE_DIR": str(cache)}


def _error(name: str, said: str) -> LooshError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, LooshError):
        return kind(said)
    return ChainError(f"{name}: {said}")


def _together(failures: Sequence[ChainError]) -> ChainError:
    """One error for all endpoints: of their common class, else the plain one."""
    if len(failures) == 1:
        return failures[0]
    kinds: set[Callable[[str], ChainError]] = {type(failure) for failure in failures}
    kind = kinds.pop() if len(kinds) == 1 else ChainError
    return kind(f"none of {len(failures)} endpoints served: " + "; ".join(map(str, failures)))
