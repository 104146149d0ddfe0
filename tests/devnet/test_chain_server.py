"""The stand-in over a socket, as any JSON-RPC client sees it. `tests/chain` runs the SDK against it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from loosh_pipeline.devnet.chain import serve_chain
from loosh_pipeline.devnet.chain.runtime import load_runtime
from loosh_pipeline.errors import DevnetError
from tests.devnet.chain_client import NETUID, VALIDATOR, new_chain, signed, weights_call
from tests.devnet.rpc_client import Client, with_client


def test_a_watched_extrinsic_is_ready_then_in_a_block_then_final() -> None:
    chain = new_chain()

    async def scenario(client: Client) -> None:
        raw = "0x" + signed(chain, weights_call()).hex()
        watched = await client.call("author_submitAndWatchExtrinsic", raw)
        assert watched["result"]
        assert (await client.call("author_submitExtrinsic", raw))["error"]["code"] == 1013
        block = chain.tick()
        while len(client.notifications) < 3:
            assert await client.receive() is None
        statuses = [result for _, result in client.notifications]
        assert statuses == ["ready", {"inBlock": block.hash}, {"finalized": block.hash}]
        found = (await client.call("chain_getBlock", block.hash))["result"]["block"]
        assert raw in found["extrinsics"]
        assert (await client.call("author_unwatchExtrinsic", watched["result"]))["result"] is False

    with_client(chain, scenario)


def test_heads_are_told_until_unsubscribed() -> None:
    chain = new_chain()

    async def scenario(client: Client) -> None:
        subscription = (await client.call("chain_subscribeNewHeads"))["result"]
        chain.tick(2)
        while len(client.notifications) < 2:
            await client.receive()
        assert [(name, head["number"]) for name, head in client.notifications] == [
            ("chain_newHead", "0x1"),
            ("chain_newHead", "0x2"),
        ]
        assert (await client.call("chain_unsubscribeNewHeads", subscription))["result"] is True
        chain.tick()
        await client.call("system_chain")
        assert len(client.notifications) == 2

    with_client(chain, scenario)


def test_storage_is_read_at_the_block_asked_for() -> None:
    chain, runtime = new_chain(), load_runtime()
    before = chain.tick()
    chain.submit(signed(chain, weights_call()))
    after = chain.tick()
    item = runtime.item("SubtensorModule", "Weights")
    key, prefix = runtime.key(item, [NETUID, 1]), runtime.key(item, [NETUID])

    async def scenario(client: Client) -> None:
        assert (await client.call("state_getStorageAt", "0x" + key.hex(), before.hash))["result"] is None
        row = (await client.call("state_getStorage", "0x" + key.hex()))["result"]
        assert runtime.decode(item.value_type, bytes.fromhex(row[2:])) == [(0, 65535), (2, 100)]
        keys = (await client.call("state_getKeysPaged", "0x" + prefix.hex(), 10, None, after.hash))["result"]
        assert keys == ["0x" + key.hex()]
        rest = await client.call("state_getKeysPaged", "0x" + prefix.hex(), 10, keys[0], after.hash)
        assert rest["result"] == []
        changes = (await client.call("state_queryStorageAt", keys, before.hash))["result"]
        assert changes == [{"block": before.hash, "changes": [[keys[0], None]]}]

    with_client(chain, scenario)


def test_errors_carry_the_codes_of_json_rpc_and_of_a_node() -> None:
    chain = new_chain()

    async def scenario(client: Client) -> None:
        unknown = "0x" + "77" * 32
        codes = {
            "state_nonsense": -32601,
            "state_getStorageAt": 4003,
            "state_call": 4003,
            "author_submitExtrinsic": 1002,
            "account_nextIndex": -32602,
        }
        params = {
            "state_getStorageAt": ["0x00", unknown],
            "state_call": ["Nonsense_call", "0x", None],
            "author_submitExtrinsic": ["0x00"],
        }
        for method, code in codes.items():
            answer = await client.call(method, *params.get(method, []))
            assert answer["error"]["code"] == code, answer
        assert (await client.send("not json"))["error"]["code"] == -32700
        assert (await client.send("7"))["error"]["code"] == -32600
        assert (await client.call("chain_getHeader", unknown))["result"] is None
        assert (await client.call("chain_getBlockHash", 7))["result"] is None
        batch = [{"jsonrpc": "2.0", "id": n, "method": "account_nextIndex", "params": [VALIDATOR.ss58_address]}
                 for n in (5, 6)]  # fmt: skip
        assert [(part["id"], part["result"]) for part in await client.send(batch)] == [(5, 0), (6, 0)]

    with_client(chain, scenario)


def test_a_browser_sees_the_chain_as_json() -> None:
    chain = new_chain()
    chain.submit(signed(chain, weights_call()))
    chain.tick()

    async def run() -> None:
        async with serve_chain(chain) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            page = await http.get("/")
            assert page.headers["content-type"] == "application/json"
            shown = page.json()
            assert (shown["block"], shown["netuid"], shown["pool"]) == (1, NETUID, [])
            assert shown["weights"] == {"1": {"0": 65535, "2": 100}}
            assert [neuron["last_update"] for neuron in shown["neurons"]] == [0, 1, 0]
            assert (await http.get("/other")).status_code == 404

    asyncio.run(run())


def test_the_block_clock_runs_while_served() -> None:
    chain = new_chain(block_time_s=0.02)

    async def run() -> None:
        async with serve_chain(chain):
            reached = asyncio.Event()
            loop = asyncio.get_running_loop()
            chain.on_block(lambda block: loop.call_soon(reached.set) if block.number >= 3 else None)
            await asyncio.wait_for(reached.wait(), 5)
        stopped_at = chain.head.number
        await asyncio.sleep(0.1)
        assert chain.head.number == stopped_at

    asyncio.run(run())


def test_a_port_that_is_taken_is_an_error() -> None:
    async def run() -> None:
        async with serve_chain(new_chain()) as port:
            with pytest.raises(DevnetError, match=f"cannot serve the chain on 127.0.0.1:{port}"):
                async with serve_chain(new_chain(), port=port):
                    pass

    asyncio.run(run())
