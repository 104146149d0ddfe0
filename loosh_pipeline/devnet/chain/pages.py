"""The plain HTTP side of the stand-in's port: the chain as JSON, and its switches.

    GET /                                   the chain at its head
    GET /switch?fault=NAME&on=1&times=1     turn a fault on (`on=0`: off); the answer is what / says then

`times` may be left out, and there may be `reorg_depth`, `reorg_returns` and `slow_factor` (`ChainFaults`). This is a
devnet: whoever reaches the port may turn its switches, and a plain GET does it so that a browser can.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.faults import chain_faults_named
from loosh_pipeline.devnet.chain.inspection import inspect_chain
from loosh_pipeline.errors import DevnetError

_KNOWN = ("fault", "on", "times", "reorg_depth", "reorg_returns", "slow_factor")


def page(chain: DevnetChain, connection: ServerConnection, request: Request) -> Response:
    """The answer to a plain HTTP request."""
    address = urlsplit(request.path)
    if address.path == "/switch":
        try:
            _switch(chain, parse_qs(address.query))
        except DevnetError as error:
            return _json(connection, HTTPStatus.BAD_REQUEST, {"detail": str(error)})
    elif address.path != "/":
        detail = f"no page {address.path}; the chain is shown at /, its faults are switched at /switch"
        return _json(connection, HTTPStatus.NOT_FOUND, {"detail": detail})
    return _json(connection, HTTPStatus.OK, inspect_chain(chain))


def _switch(chain: DevnetChain, query: dict[str, list[str]]) -> None:
    if unknown := sorted(query.keys() - set(_KNOWN)):
        raise DevnetError(f"/switch takes {', '.join(_KNOWN)}, not {unknown[0]}")
    faults = chain_faults_named(query.get("fault", []))
    if not faults:
        raise DevnetError("/switch needs a fault: /switch?fault=silence&on=1")
    numbers = {name: _number(name, values[-1]) for name, values in query.items() if name != "fault"}
    on, times = numbers.get("on", 1), numbers.get("times")
    chain.faults.tune(
        reorg_depth=numbers.get("reorg_depth", chain.faults.reorg_depth),
        reorg_returns=bool(numbers.get("reorg_returns", chain.faults.reorg_returns)),
        slow_factor=numbers.get("slow_factor", chain.faults.slow_factor),
    )
    for fault in faults:
        chain.faults.switch(fault, bool(on), times)


def _number(name: str, text: str) -> int:
    highest = 1 if name in ("on", "reorg_returns") else 10**6
    if not text.isdecimal() or int(text) > highest:
        raise DevnetError(f"{name} is a number up to {highest}, got {text!r}")
    return int(text)


def _json(connection: ServerConnection, status: HTTPStatus, body: Any) -> Response:
    response = connection.respond(status, json.dumps(body, indent=1) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response
