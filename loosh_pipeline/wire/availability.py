"""Whether miners say that they are there: one cheap question, which proves nothing about their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from loosh_pipeline.domain import Availability, Neuron
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.codec import Fields, decode_object
from loosh_pipeline.wire.connection import MAX_CONTROL_BYTES, ConnectFailed, Connection, Reply
from loosh_pipeline.wire.text import printable

logger = logging.getLogger(__name__)

PATH = "/availability"
VALIDATOR_HEADER = "validator-hotkey"
TIMEOUT_S = 3.0
AT_ONCE = 20


async def probe_miners(
    neurons: Sequence[Neuron], validator_hotkey: str, *, rules: AddressRules, timeout_s: float = TIMEOUT_S
) -> tuple[Availability, ...]:
    """Ask all neurons, `AT_ONCE` at a time, each for at most `timeout_s`. One result for each, in their order."""
    free = asyncio.Semaphore(AT_ONCE)

    async def probe(neuron: Neuron) -> Availability:
        async with free:
            reason, latency_ms = await _probe(neuron, validator_hotkey, rules, timeout_s)
        return Availability(
            neuron.hotkey, neuron.uid, neuron.ip or "", neuron.port, not reason, printable(reason), latency_ms
        )

    found = await asyncio.gather(*(probe(neuron) for neuron in neurons))
    await asyncio.sleep(0)  # the sockets that were closed last are gone before the loop is
    return tuple(found)


async def _probe(
    neuron: Neuron, validator_hotkey: str, rules: AddressRules, timeout_s: float
) -> tuple[str, float | None]:
    """Why a neuron is not available, if so, and how long its answer took. Details follow the reason after a colon."""
    headers = {VALIDATOR_HEADER: validator_hotkey}
    reply = None
    try:
        endpoint = rules.endpoint(neuron.ip, neuron.port)
    except WireError as error:
        return f"may not be asked: {error}", None
    try:
        async with asyncio.timeout(timeout_s), Connection(endpoint, connect_timeout_s=timeout_s) as connection:
            reply = await connection.request("GET", PATH, max_bytes=MAX_CONTROL_BYTES, headers=headers)
        return _refusal(reply), reply.elapsed_ms
    except TimeoutError:
        return f"nothing within {timeout_s:g} s", None
    except ConnectFailed as error:
        return str(error), None
    except WireError as error:
        return f"no usable answer: {error}", None if reply is None else reply.elapsed_ms
    except Exception as error:  # whatever one miner brings about, the others are heard
        logger.exception("probing %s failed unexpectedly", neuron.hotkey)
        return f"unexpected {type(error).__name__}: {error}", None


def _refusal(reply: Reply) -> str:
    """Why an answer does not say that its sender is available; empty when it does. Raises WireError."""
    if reply.status != 200:
        return f"HTTP {reply.status}"
    fields = Fields(decode_object(reply.body, "availability"), "availability")
    if fields.truthy("available"):
        return ""
    return f"it says it is not: {fields.optional_text('reason', MAX_CONTROL_BYTES) or 'without a reason'}"
