"""A JSON-RPC client of the served chain that shares no code with it, nor with the SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from loosh_pipeline.devnet.chain import DevnetChain, serve_chain


class Client:
    """A JSON-RPC client: responses by id, notifications in the order they came."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.notifications: list[tuple[str, Any]] = []

    async def send(self, message: Any) -> Any:
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))
        while True:
            received = await self.receive()
            if received is not None:
                return received

    async def call(self, method: str, *params: Any) -> Any:
        return await self.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    async def receive(self) -> Any:
        """The next response, or None after a notification."""
        received = json.loads(await asyncio.wait_for(self.connection.recv(), 5))
        if isinstance(received, dict) and "method" in received:
            self.notifications.append((received["method"], received["params"]["result"]))
            return None
        return received


def with_client(chain: DevnetChain, scenario: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serve_chain(chain) as port, connect(f"ws://127.0.0.1:{port}") as connection:
            await scenario(Client(connection))

    asyncio.run(run())
