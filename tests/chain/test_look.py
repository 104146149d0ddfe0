"""One look at one node: the served chain at rest and at fault, and servers that are none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette

from loosh_pipeline.chain.look import NodeSeen, look_at
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.devnet.servers import Served, serve_apps
from tests.chain.conftest import ServedChain


def test_a_node_says_its_chain_and_its_newest_block(devnet_chain: ServedChain) -> None:
    devnet_chain.chain.tick()  # block 0 has no time
    seen = look_at(f"{devnet_chain.endpoint}/a-key-of-a-provider", 5.0)
    assert seen.problem is None
    assert seen.where == devnet_chain.endpoint
    assert seen.genesis_hash == devnet_chain.chain.block_at(0).hash
    assert seen.block is not None
    assert seen.age_s is not None
    assert -1 < seen.age_s < 5
    assert seen.seen_at is not None
    assert abs((datetime.now(UTC) - seen.seen_at).total_seconds()) < 5


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("silence", "did not answer within 0.3 s"),
        ("freeze", "did not answer within 0.3 s"),
        ("too_many_requests", "HTTP 429"),
        ("requests_limited", "failed"),
    ],
)
def test_a_node_at_fault_is_a_problem_in_words(serve_devnet: Callable[..., Any], fault: str, problem: str) -> None:
    with serve_devnet() as served:
        served.chain.faults.switch(ChainFault(fault))
        seen = look_at(served.endpoint, 0.3)
    assert problem in (seen.problem or "")
    assert seen.age_s is None


def test_a_key_in_an_address_is_not_told(devnet_chain: ServedChain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    seen = look_at(f"wss://user:very-secret@127.0.0.1:{port}/v1/other-secret", 1.0)
    assert (seen.where, "secret" in str(seen)) == (f"wss://127.0.0.1:{port}", False)
    assert seen.problem is not None


def test_a_web_server_is_no_node() -> None:
    async def scenario() -> NodeSeen:
        async with serve_apps([Served(Starlette())]) as (port,):
            return await asyncio.to_thread(look_at, f"ws://127.0.0.1:{port}", 2.0)

    assert "is no chain node" in (asyncio.run(scenario()).problem or "")
