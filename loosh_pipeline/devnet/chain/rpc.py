"""The JSON-RPC methods of a Substrate node that clients use, by name.

`answer` is plain request and response; what a subscription sends later is left to the session it was made in.
Hex parameters are taken with and without `0x`, as nodes do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.devnet.chain.ledger import Block, UnknownBlock
from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.devnet.chain.runtime import (
    RUNTIMES,
    SPEC_NAME,
    SS58_FORMAT,
    TRANSACTION_VERSION,
    Runtime,
    load_runtime,
)
from loosh_pipeline.devnet.chain.runtime_api import NAME, NotModelled

log = logging.getLogger(__name__)

METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR, CLIENT_ERROR = -32601, -32602, -32603, 4003
LIMITED = -32005
"""What gateways answer when they limit requests; no node of its own does."""
RETRY_AFTER_S = 30
FINALIZED_HEAD = "chain_finalizedHead"
_MAX_KEYS = 1000
_METADATA_V15 = (15).to_bytes(4, "little")

Params = Sequence[Any]


class RpcError(Exception):
    """An error object of JSON-RPC."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"code": self.code, "message": self.message}
        return payload if self.data is None else payload | {"data": self.data}


class ConnectionCut(Exception):
    """The connection was cut on purpose: there is nobody to answer."""


class Session(Protocol):
    """One connection: it takes transactions, keeps subscriptions and sends what they yield."""

    def submit(self, raw: bytes) -> str: ...

    def subscribe_heads(self, notification: str) -> str: ...

    def watch(self, raw: bytes) -> str: ...

    def unsubscribe(self, subscription: str) -> bool: ...


def answer(chain: DevnetChain, session: Session, request: Any) -> dict[str, Any]:
    """The JSON-RPC response to one request. Raises `ConnectionCut` when nobody is left to read it."""
    request_id = request.get("id") if isinstance(request, dict) else None
    response: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id}
    try:
        return response | {"result": _call(chain, session, request)}
    except RpcError as error:
        return response | {"error": error.payload()}
    except ConnectionCut:
        raise
    except Exception as error:
        log.exception("request %.200r failed", request)
        return response | {"error": {"code": INTERNAL_ERROR, "message": f"Internal error: {error!r}"}}


def _call(chain: DevnetChain, session: Session, request: Any) -> Any:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(-32600, "Invalid request")
    method, params = request["method"], request.get("params") or []
    if chain.faults.strikes(ChainFault.REQUESTS_LIMITED):
        raise RpcError(LIMITED, "Request limit exceeded", {"reason": "devnet", "retry_after": RETRY_AFTER_S})
    handler, session_handler = _METHODS.get(method), _SESSION_METHODS.get(method)
    try:
        with chain.lock:
            if handler is not None:
                return handler(chain, params)
            if session_handler is not None:
                return session_handler(session, params)
    except Refused as error:
        raise RpcError(error.code, error.message, error.reason) from error
    except UnknownBlock as error:
        raise RpcError(CLIENT_ERROR, "Client error: UnknownBlock", str(error)) from error
    except NotModelled as error:
        raise RpcError(CLIENT_ERROR, "Client error: Execution failed", f"{error} is not modelled") from error
    except (ValueError, TypeError, IndexError) as error:
        raise RpcError(INVALID_PARAMS, "Invalid params", str(error)) from error
    raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")


def _optional(params: Params, position: int) -> Any:
    return params[position] if len(params) > position else None


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else "0x" + raw.hex()


def _block_hash(chain: DevnetChain, params: Params) -> str | None:
    number = _optional(params, 0)
    if number is None:
        return chain.head.hash
    block = chain.block_at(int(number, 16) if isinstance(number, str) else int(number))
    return None if block is None else block.hash


def _known(chain: DevnetChain, block_hash: str | None) -> Block | None:
    try:
        return chain.block(block_hash)
    except UnknownBlock:
        return None  # nodes answer null for a block they do not know


def _header(chain: DevnetChain, params: Params) -> dict[str, Any] | None:
    block = _known(chain, _optional(params, 0))
    return None if block is None else block.header()


def _get_block(chain: DevnetChain, params: Params) -> dict[str, Any] | None:
    block = _known(chain, _optional(params, 0))
    if block is None:
        return None
    extrinsics = [_hex(raw) for raw in block.extrinsics]
    return {"block": {"header": block.header(), "extrinsics": extrinsics}, "justifications": None}


def _runtime_version(chain: DevnetChain, params: Params) -> dict[str, Any]:
    runtime = chain.runtime_at(_optional(params, 0))
    return {
        "specName": SPEC_NAME,
        "implName": SPEC_NAME,
        "authoringVersion": 1,
        "specVersion": runtime.spec_version,
        "implVersion": 1,
        "apis": [],
        "transactionVersion": TRANSACTION_VERSION,
        "stateVersion": 1,
    }


def _state_call(chain: DevnetChain, params: Params) -> str | None:
    name, data, at = params[0], _unhex(_optional(params, 1) or ""), _optional(params, 2)
    if name == "Metadata_metadata_at_version":
        return _hex(_described(chain, at).opaque_metadata_v15 if data == _METADATA_V15 else b"\0")
    return _hex(chain.call_api(name, data, at))


def _described(chain: DevnetChain, block_hash: str | None) -> Runtime:
    """The runtime whose metadata is served for a block: its own, or an older one when the node is at fault."""
    runtime = chain.runtime_at(block_hash)
    if not chain.faults.strikes(ChainFault.METADATA_SKEW):
        return runtime
    return load_runtime(RUNTIMES[max(0, RUNTIMES.index(runtime.name) - 1)])


def _metadata_v14(chain: DevnetChain, params: Params) -> str | None:
    metadata = _described(chain, _optional(params, 0)).metadata_v14
    if metadata is None:
        raise NotModelled("metadata V14 of this runtime")
    return _hex(metadata)


def _storage(chain: DevnetChain, params: Params) -> str | None:
    return _hex(chain.raw(_unhex(params[0]), _optional(params, 1)))


def _query_storage(chain: DevnetChain, params: Params) -> list[dict[str, Any]]:
    block = chain.block(_optional(params, 1))
    changes = [[key, _hex(chain.raw(_unhex(key), block.hash))] for key in params[0]]
    return [{"block": block.hash, "changes": changes}]


def _keys_paged(chain: DevnetChain, params: Params) -> list[str]:
    prefix, count = _unhex(params[0] or ""), min(int(params[1]), _MAX_KEYS)
    after, at = _unhex(_optional(params, 2) or ""), _optional(params, 3)
    keys = (key for key in chain.keys(prefix, at) if key > after)
    return ["0x" + key.hex() for key, _ in zip(keys, range(count), strict=False)]


def _next_index(chain: DevnetChain, params: Params) -> int:
    return chain.next_nonce(params[0])


def _fee(chain: DevnetChain, params: Params) -> dict[str, Any]:
    return {"weight": {"ref_time": 1, "proof_size": 1}, "class": "normal", "partialFee": "0"}


def _properties(chain: DevnetChain, params: Params) -> dict[str, Any]:
    return {"ss58Format": SS58_FORMAT, "tokenDecimals": 9, "tokenSymbol": "TAO"}


def _method_names(chain: DevnetChain, params: Params) -> dict[str, list[str]]:
    return {"methods": sorted([*_METHODS, *_SESSION_METHODS])}


_METHODS: Mapping[str, Callable[[DevnetChain, Params], Any]] = {
    "account_nextIndex": _next_index,
    "chain_getBlock": _get_block,
    "chain_getBlockHash": _block_hash,
    "chain_getFinalizedHead": lambda chain, params: chain.finalized.hash,
    "chain_getHead": lambda chain, params: chain.head.hash,
    "chain_getHeader": _header,
    "payment_queryInfo": _fee,
    "rpc_methods": _method_names,
    "state_call": _state_call,
    "state_getKeysPaged": _keys_paged,
    "state_getMetadata": _metadata_v14,
    "state_getRuntimeVersion": _runtime_version,
    "state_getStorage": _storage,
    "state_getStorageAt": _storage,
    "state_queryStorageAt": _query_storage,
    "system_accountNextIndex": _next_index,
    "system_chain": lambda chain, params: NAME,
    "system_name": lambda chain, params: NAME,
    "system_properties": _properties,
    "system_version": lambda chain, params: f"spec {chain.runtime.spec_version}",
}

_SESSION_METHODS: Mapping[str, Callable[[Session, Params], Any]] = {
    "author_submitExtrinsic": lambda session, params: session.submit(_unhex(params[0])),
    "author_submitAndWatchExtrinsic": lambda session, params: session.watch(_unhex(params[0])),
    "author_unwatchExtrinsic": lambda session, params: session.unsubscribe(params[0]),
    "chain_subscribeAllHeads": lambda session, params: session.subscribe_heads("chain_allHead"),
    "chain_subscribeFinalizedHeads": lambda session, params: session.subscribe_heads(FINALIZED_HEAD),
    "chain_subscribeNewHeads": lambda session, params: session.subscribe_heads("chain_newHead"),
    "chain_unsubscribeAllHeads": lambda session, params: session.unsubscribe(params[0]),
    "chain_unsubscribeFinalizedHeads": lambda session, params: session.unsubscribe(params[0]),
    "chain_unsubscribeNewHeads": lambda session, params: session.unsubscribe(params[0]),
}
