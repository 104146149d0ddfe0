"""The plain HTTP side of the stand-in's port: the chain as JSON, and its switches.

    GET /                                   the chain at its head
    GET /switch?fault=NAME&on=1&times=1     turn a fault on (`on=0`: off); `times` is optional; the answer is `/`

A devnet: whoever reaches the port may turn its switches, and a plain GET does it so that a browser can.
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

_ON = {"1": True, "0": False}


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
    if unknown := sorted(query.keys() - {"fault", "on", "times"}):
        raise DevnetError(f"/switch takes fault, on and times, not {unknown[0]}")
    faults = chain_faults_named(query.get("fault", []))
    if not faults:
        raise DevnetError("/switch needs a fault: /switch?fault=silence&on=1")
    on, times = query.get("on", ["1"])[-1], query.get("times", [None])[-1]
    if on not in _ON or not (times is None or times.isdecimal()):
        raise DevnetError(f"on is 1 or 0 and times a number, got on={on} and times={times}")
    for fault in faults:
        chain.faults.switch(fault, _ON[on], None if times is None else int(times))


def _json(connection: ServerConnection, status: HTTPStatus, body: Any) -> Response:
    response = connection.respond(status, json.dumps(body, indent=1) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response
