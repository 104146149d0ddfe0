"""One look at one node, without the SDK: which chain it serves, its newest block, and how fast it answers.

For whoever wants to know what is wrong with an endpoint. Nothing is remembered, and no setting decides what is usable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from loosh_pipeline.chain.endpoints import hushed, shown

TIMESTAMP_NOW = "0xf0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"
"""Where every Substrate chain stores the time of a block: twox128("Timestamp") and twox128("Now")."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What one node said, or why it said nothing (`problem`). `seen_at`: by this machine's clock.

    `unresolved`: it was not asked, as its name has no address.
    """

    where: str
    genesis_hash: str | None = None
    block: int | None = None
    made_at: datetime | None = None
    seen_at: datetime | None = None
    latency_ms: float | None = None
    problem: str | None = None
    unresolved: bool = False

    @property
    def age_s(self) -> float | None:
        """How old its newest block is by this machine's clock; negative: made in the future."""
        if self.made_at is None or self.seen_at is None:
            return None
        return (self.seen_at - self.made_at).total_seconds()


def look_at(endpoint: str, within_s: float) -> NodeSeen:
    """Ask a node for its block 0 and its newest block. Raises nothing that a node or a network can bring about."""
    from websockets.exceptions import InvalidHandshake, WebSocketException
    from websockets.sync.client import connect

    where, until = shown(endpoint), time.monotonic() + within_s
    try:
        with connect(endpoint, open_timeout=within_s, close_timeout=0.5, proxy=None) as socket:

            def say(method: str, *params: object) -> object:
                request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                socket.send(json.dumps(request))
                return _result(socket.recv(max(0.01, until - time.monotonic())))

            return _seen(where, say)
    except TimeoutError:
        return NodeSeen(where, problem=f"did not answer within {within_s:g} s")
    except InvalidHandshake as error:
        return NodeSeen(where, problem=f"is no chain node, or refused us ({hushed(str(error), endpoint)})")
    except (WebSocketException, OSError, ValueError, LookupError, TypeError) as error:
        return NodeSeen(where, problem=f"failed ({hushed(f'{type(error).__name__}: {error}', endpoint)})")


def _seen(where: str, say: Callable[..., object]) -> NodeSeen:
    asked_s = time.perf_counter()
    genesis_hash = str(say("chain_getBlockHash", 0))
    latency_ms = (time.perf_counter() - asked_s) * 1000
    head = str(say("chain_getBlockHash"))
    header = say("chain_getHeader", head)
    made_at = _time(say("state_getStorage", TIMESTAMP_NOW, head))
    seen_at = datetime.now(UTC)
    if not isinstance(header, dict):
        raise ValueError(f"its newest block has no header: {str(header)[:80]}")
    return NodeSeen(where, genesis_hash, int(str(header["number"]), 16), made_at, seen_at, latency_ms)


def _time(stored: object) -> datetime | None:
    """The time of a block, which is unix milliseconds in little-endian; block 0 has none."""
    now_ms = int.from_bytes(bytes.fromhex(str(stored or "0x").removeprefix("0x")), "little")
    return datetime.fromtimestamp(now_ms / 1000, UTC) if now_ms else None


def _result(text: str | bytes) -> object:
    answer = json.loads(text)
    if not isinstance(answer, dict) or "result" not in answer:
        raise ValueError(f"it answered {str(text)[:80]}")
    result: object = answer["result"]
    return result
