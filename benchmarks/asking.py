"""How true the times of miners are: what is recorded of each, beside what it took by its own clock.

`python -m benchmarks.asking --json` asks miners in another process, all at once, and prints by how many milliseconds
the recorded times exceed the miners' own (which miss what their HTTP servers take): `late_p50_ms`, `late_p99_ms`,
`late_max_ms`. With `--hostile`, as many more miners flood the validator with interim responses meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from random import Random
from typing import Any

from bittensor_core import Keypair
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet.servers import HOST, Served, serve_apps
from loosh_pipeline.domain import Block, Challenge, ChallengeId, Coldkey, Hotkey, Neuron, Outcome, Uid
from loosh_pipeline.domain import Response as Recorded
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.client_sessions import SessionBook
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import generate_private_key, seal, unseal
from loosh_pipeline.wire.messages import (
    CHALLENGE_PATH,
    KEY_EXCHANGE_PATH,
    MINER_UUID_HEADER,
    MINER_VALIDATOR_HEADER,
    PUBLIC_KEY_PATH,
    parse_miner_key_exchange,
)
from loosh_pipeline.wire.miner_client import ask_miners
from loosh_pipeline.wire.sessions import HandshakeServer

DELAYS_S = (0.2, 1.2)
TIMEOUT_S = 10.0
VALIDATOR = Keypair.from_seed(b"\x01" * 32)


def miner_app(handshakes: HandshakeServer, seed: int) -> Starlette:
    """A miner whose answer says how many milliseconds it took."""
    rng = Random(seed)

    async def public_key(_request: Request) -> Response:
        return JSONResponse({"public_key": handshakes.public_pem})

    async def key_exchange(request: Request) -> Response:
        handshakes.open_session(parse_miner_key_exchange(await request.body()))
        return JSONResponse({"success": True})

    async def challenge(request: Request) -> Response:
        started_s = time.perf_counter()
        key = handshakes.session_key(request.headers[MINER_VALIDATOR_HEADER], request.headers[MINER_UUID_HEADER])
        assert key is not None
        unseal(key, await request.body())
        await asyncio.sleep(rng.uniform(*DELAYS_S))
        return Response(seal(key, encode_json({"response_text": str((time.perf_counter() - started_s) * 1000)})))

    return Starlette(
        routes=[
            Route(PUBLIC_KEY_PATH, public_key),
            Route(KEY_EXCHANGE_PATH, key_exchange, methods=["POST"]),
            Route(CHALLENGE_PATH, challenge, methods=["POST"]),
        ]
    )


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            await writer.drain()
    except ConnectionError:
        writer.transport.abort()


async def _stay(pipe: Pipe, ports: Sequence[int]) -> None:
    pipe.send(list(ports))
    await asyncio.to_thread(pipe.recv)


def serve_miners(pipe: Pipe, count: int) -> None:
    """A process of honest miners: tells its ports, and serves until it is told anything."""

    async def run() -> None:
        key = generate_private_key()
        apps = [Served(miner_app(HandshakeServer(private_key=key), seed)) for seed in range(count)]
        async with serve_apps(apps) as ports:
            await _stay(pipe, ports)

    asyncio.run(run())


def serve_floods(pipe: Pipe, count: int) -> None:
    """Another of hostile ones."""

    async def run() -> None:
        servers = [await asyncio.start_server(flood, HOST, 0) for _ in range(count)]
        await _stay(pipe, [server.sockets[0].getsockname()[1] for server in servers])

    asyncio.run(run())


@contextlib.contextmanager
def process(target: Callable[[Pipe, int], None], count: int) -> Iterator[list[int]]:
    ours, theirs = multiprocessing.Pipe()
    serving = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, count))
    serving.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        serving.join()


def ask(ports: list[int], rounds: int) -> list[Recorded]:
    neurons = [
        Neuron(Uid(uid), Hotkey(f"miner-{uid}"), Coldkey(""), HOST, port, False, 0.0, Block(0))
        for uid, port in enumerate(ports)
    ]
    book, rules = SessionBook(), AddressRules(allow_private=True)
    recorded: list[Recorded] = []
    for number in range(rounds):
        challenge = Challenge(
            ChallengeId(f"c-{number}"), "Why is the sky blue? " * 100, "m", 256, 0.7, 0.95, datetime.now(UTC)
        )
        recorded += asyncio.run(
            ask_miners(
                neurons,
                challenge,
                signer=VALIDATOR,
                timeout_s=TIMEOUT_S,
                max_response_bytes=2**22,
                rules=rules,
                sessions=book,
            )
        )
    return recorded


def measured(recorded: Sequence[Recorded]) -> dict[str, Any]:
    answered = [one for one in recorded if one.outcome is Outcome.ANSWERED]
    late_ms = sorted((one.elapsed_ms or 0.0) - float(one.text) for one in answered)
    handshakes_ms = [one.handshake_ms for one in answered if one.handshake_ms is not None]
    return {
        "answered": len(answered),
        "late_p50_ms": round(statistics.median(late_ms), 2),
        "late_p99_ms": round(late_ms[int(0.99 * (len(late_ms) - 1))], 2),
        "late_max_ms": round(late_ms[-1], 2),
        "handshake_p50_ms": round(statistics.median(handshakes_ms), 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--hostile", action="store_true", help="as many more miners that flood meanwhile")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    hostile = options.miners if options.hostile else 0
    with process(serve_miners, options.miners) as honest, process(serve_floods, hostile) as floods:
        recorded = ask([*floods, *honest], options.rounds)
    found = {"miners": options.miners, "hostile": hostile, "rounds": options.rounds, **measured(recorded)}
    print("\n".join(f"{name:18}{value}" for name, value in found.items()))
    if options.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
