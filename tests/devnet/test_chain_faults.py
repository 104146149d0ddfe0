"""The chain's faults, one switch each, as a client of its socket meets them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from loosh_pipeline.devnet.chain import ChainFault, DevnetChain, serve_chain
from loosh_pipeline.devnet.chain.faults import ChainFaults, chain_faults_named
from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.devnet.chain.runtime import RuntimeName, load_runtime
from loosh_pipeline.errors import DevnetError
from tests.devnet.chain_client import execute, new_chain, row, signed, weights_call
from tests.devnet.rpc_client import Client, with_client

A_MOMENT_S = 0.05


def hexed(chain: DevnetChain, **changes: Any) -> str:
    return "0x" + signed(chain, weights_call(**changes)).hex()


def test_switches_count_and_go_off_by_themselves() -> None:
    faults, told = ChainFaults(), []
    stop = faults.on_change(lambda: told.append(faults.active()))
    faults.switch(ChainFault.SILENCE)
    faults.switch(ChainFault.REORG, times=2)
    assert [faults.strikes(ChainFault.REORG) for _ in range(3)] == [True, True, False]
    assert faults.strikes(ChainFault.SILENCE)
    assert faults.active() == (ChainFault.SILENCE,)
    faults.switch(ChainFault.SILENCE, False)
    faults.switch(ChainFault.SILENCE, False)
    stop()
    faults.switch(ChainFault.FREEZE)
    assert told == [("silence",), ("silence", "reorg"), ("silence",), (), ()]
    with pytest.raises(DevnetError, match="cannot strike 0 times"):
        faults.switch(ChainFault.FREEZE, times=0)


def test_a_fault_that_is_none_is_named() -> None:
    assert chain_faults_named(["freeze", "reorg"]) == (ChainFault.FREEZE, ChainFault.REORG)
    with pytest.raises(DevnetError, match=r"no chain fault 'cold'; there are silence, freeze, "):
        chain_faults_named(["cold"])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ChainFault.POOL_FULL, 1016),
        (ChainFault.OUTDATED, 1010),
        (ChainFault.BANNED, 1012),
        (ChainFault.LOW_PRIORITY, 1014),
    ],
)
def test_the_pool_refuses_as_a_node_does(fault: ChainFault, code: int) -> None:
    chain = new_chain()
    chain.faults.switch(fault, times=1)
    with pytest.raises(Refused) as refused:
        chain.submit(signed(chain, weights_call()))
    assert (refused.value.code, chain.pool()) == (code, [])
    assert execute(chain, weights_call()) == "ExtrinsicSuccess", "once was asked for"


def test_a_silent_node_takes_what_it_does_not_answer() -> None:
    chain = new_chain()

    async def scenario(client: Client) -> None:
        await client.call("chain_subscribeNewHeads")
        chain.faults.switch(ChainFault.SILENCE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call("author_submitExtrinsic", hexed(chain)), A_MOMENT_S)
        assert len(chain.tick().included) == 1
        await asyncio.wait_for(await client.connection.ping(), 5)  # the socket lives
        chain.faults.switch(ChainFault.SILENCE, False)
        assert (await client.call("system_chain"))["result"] == "loosh devnet"
        assert client.notifications == []

    with_client(chain, scenario)


def test_a_frozen_node_neither_reads_nor_pongs_nor_shakes_hands_and_wakes_up() -> None:
    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port, connect(f"ws://127.0.0.1:{port}") as connection:
            client = Client(connection)
            await client.call("system_chain")
            chain.faults.switch(ChainFault.FREEZE)
            await asyncio.sleep(0)
            pong = await connection.ping()
            asked = asyncio.create_task(client.call("chain_getHeader"))
            entering = asyncio.create_task(connect(f"ws://127.0.0.1:{port}").__aenter__())
            done, _ = await asyncio.wait({asked, entering, asyncio.ensure_future(pong)}, timeout=A_MOMENT_S)
            assert not done
            async with httpx.AsyncClient() as http:  # the page stays, so that the switch can be reached
                url = f"http://127.0.0.1:{port}/switch?fault=freeze&on=0"
                assert (await http.get(url)).json()["faults"] == []
            await asyncio.wait_for(pong, 5)
            assert (await asyncio.wait_for(asked, 5))["result"]["number"] == "0x0"
            await (await asyncio.wait_for(entering, 5)).close()

    asyncio.run(run())


def test_a_server_ends_though_it_is_frozen() -> None:
    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port:
            connection = await connect(f"ws://127.0.0.1:{port}")
            await Client(connection).call("system_chain")
            chain.faults.switch(ChainFault.FREEZE)
            await asyncio.sleep(0)
        await connection.close()

    asyncio.run(asyncio.wait_for(run(), 5))


def test_connections_are_refused_and_cut() -> None:
    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port, connect(f"ws://127.0.0.1:{port}") as connection:
            chain.faults.switch(ChainFault.REFUSE_CONNECTIONS)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 5)
            with pytest.raises((OSError, EOFError, InvalidMessage)):  # no answer, not even a refusal
                await connect(f"ws://127.0.0.1:{port}")
            chain.faults.switch(ChainFault.REFUSE_CONNECTIONS, False)
            async with connect(f"ws://127.0.0.1:{port}") as again:
                assert (await Client(again).call("system_chain"))["result"]

    asyncio.run(run())


@pytest.mark.parametrize("method", ["author_submitExtrinsic", "author_submitAndWatchExtrinsic"])
@pytest.mark.parametrize(
    ("fault", "taken"), [(ChainFault.DROP_BEFORE_SUBMIT, False), (ChainFault.DROP_AFTER_SUBMIT, True)]
)
def test_the_connection_is_cut_around_a_submission(method: str, fault: ChainFault, taken: bool) -> None:
    chain = new_chain()

    async def scenario(client: Client) -> None:
        chain.faults.switch(fault, times=1)
        with pytest.raises(ConnectionClosed):
            await client.call(method, hexed(chain))
        assert len(chain.tick().included) == taken

    with_client(chain, scenario)
    assert (row(chain) != []) == taken


def test_a_submission_is_taken_and_never_heard_of_again_by_the_one_who_made_it() -> None:
    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port, connect(f"ws://127.0.0.1:{port}") as first:
            chain.faults.switch(ChainFault.HANG_AFTER_SUBMIT, times=1)
            asked = asyncio.create_task(Client(first).call("author_submitAndWatchExtrinsic", hexed(chain)))
            async with connect(f"ws://127.0.0.1:{port}") as second:
                while not chain.pool():
                    await Client(second).call("system_chain")
                chain.tick()
                assert (await Client(second).call("chain_getHeader"))["result"]["number"] == "0x1"
            assert not asked.done()
            asked.cancel()

    asyncio.run(run())
    assert row(chain) != []


def test_too_many_requests_are_told_at_the_handshake_and_in_answers() -> None:
    from bittensor._transport.errors import RpcPolicyRejection
    from bittensor._transport.rpc import RpcSession

    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port:
            url = f"ws://127.0.0.1:{port}"
            chain.faults.switch(ChainFault.REQUESTS_LIMITED)
            session = RpcSession(url)
            with pytest.raises(RpcPolicyRejection, match="Request limit exceeded") as limited:
                await session.request("system_chain")
            await session.close()
            chain.faults.switch(ChainFault.TOO_MANY_REQUESTS)
            with pytest.raises(InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 429
            with pytest.raises(RpcPolicyRejection, match="HTTP 429") as at_the_door:
                await RpcSession(url).connect()
            assert limited.value.retry_after == at_the_door.value.retry_after == "30"

    asyncio.run(run())


@pytest.mark.parametrize(("runtime", "older"), [("current", "recorded"), ("recorded", "recorded439")])
def test_metadata_is_served_of_the_runtime_before(runtime: RuntimeName, older: RuntimeName) -> None:
    chain = new_chain(runtime=runtime)
    ask = ("state_call", "Metadata_metadata_at_version", "0x0f000000")

    async def scenario(client: Client) -> None:
        for is_on, name in ((False, runtime), (True, older)):
            chain.faults.switch(ChainFault.METADATA_SKEW, is_on)
            answer = (await client.call(*ask))["result"]
            assert bytes.fromhex(answer[2:]).endswith(load_runtime(name).metadata_v15)
            assert (await client.call("state_getRuntimeVersion"))["result"]["specVersion"] == 461

    with_client(chain, scenario)


def test_a_stale_head_takes_transactions_and_holds_none() -> None:
    chain = new_chain()
    chain.tick()
    chain.faults.switch(ChainFault.STALE_HEAD)
    assert chain.tick(3).number == 1
    chain.submit(signed(chain, weights_call()))
    assert chain.tick().number == 1
    assert len(chain.pool()) == 1
    chain.faults.switch(ChainFault.STALE_HEAD, times=2)
    assert chain.tick(2).number == 1
    assert len(chain.tick().included) == 1


def test_slow_blocks_take_as_many_times_longer() -> None:
    chain = new_chain(block_time_s=0.001)
    chain.faults.slow_factor = 20
    times: list[float] = []

    async def run() -> None:
        async with serve_chain(chain):
            started, made = time.monotonic(), asyncio.Event()
            chain.faults.switch(ChainFault.SLOW_BLOCKS, times=1)
            chain.on_block(lambda block: (times.append(time.monotonic() - started), made.set()))
            await asyncio.wait_for(made.wait(), 5)
        assert times[0] >= 0.02
        assert chain.faults.active() == (), "once was asked for"

    asyncio.run(run())


def test_a_switch_is_turned_over_http_and_the_page_says_what_is_wrong() -> None:
    chain = new_chain()

    async def run() -> None:
        async with serve_chain(chain) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            turned = await http.get("/switch", params={"fault": "stale_head", "on": "1", "times": "2"})
            assert turned.json()["faults"] == ["stale_head"]
            assert (await http.get("/switch?fault=stale_head&on=0")).json()["faults"] == []
            both = await http.get("/switch?fault=silence&fault=reorg&reorg_depth=3&reorg_returns=1&slow_factor=4")
            assert both.json()["faults"] == ["silence", "reorg"]
            assert (chain.faults.reorg_depth, chain.faults.reorg_returns, chain.faults.slow_factor) == (3, 1, 4)
            wrong = {
                "/switch": "needs a fault",
                "/switch?fault=cold": "no chain fault 'cold'",
                "/switch?fault=reorg&on=yes": "on is a number up to 1, got 'yes'",
                "/switch?fault=reorg&times=-1": "times is a number up to",
                "/switch?fault=reorg&times=0": "cannot strike 0 times",
                "/switch?fault=reorg&reorg_depth=0": "reorg_depth is 0",
                "/switch?fault=reorg&off=1": "slow_factor, not off",
            }
            for path, problem in wrong.items():
                answer = await http.get(path)
                assert (answer.status_code, problem in answer.json()["detail"]) == (400, True), path
            assert (await http.get("/other")).status_code == 404

    asyncio.run(run())
