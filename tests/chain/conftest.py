"""A served devnet chain in a background thread, with wallets that are registered on it or not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.chain.wallet import WalletInfo, create_wallet
from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec, serve_chain
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from tests.chain.bench import Bench, Clock

WALLET = "validator"
RATE_LIMIT_BLOCKS = 200


@dataclass(frozen=True)
class ServedChain:
    """A chain on a socket. `settings` are those of a validator that uses it."""

    chain: DevnetChain
    endpoint: str
    settings: Callable[..., Settings]


@contextmanager
def serve_in_thread(chain: DevnetChain) -> Iterator[str]:
    """Serve from an event loop of its own; yields `host:port`."""
    ports: list[int] = []
    started, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with serve_chain(chain) as port:
            ports.append(port)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10), "the devnet did not start"
        yield f"127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def wallet_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wallets")


@pytest.fixture(scope="session")
def hotkeys(wallet_path: Path) -> dict[str, WalletInfo]:
    """Hotkeys of one wallet: `validator` has a permit, `idle` has none, `outsider` is not registered."""
    return {name: create_wallet(wallet_path, WALLET, name) for name in ("validator", "idle", "outsider")}


@pytest.fixture(scope="session")
def serve_devnet(
    wallet_path: Path, hotkeys: dict[str, WalletInfo], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """`with serve_devnet(**config) as served:` the validator is uid 0, idle uid 1, miners 2 to 5, then `more`."""
    miners = [Keypair.create_from_uri(f"//miner{index}").ss58_address for index in range(4)]
    neurons = [
        NeuronSpec(hotkeys["validator"].hotkey, hotkeys["validator"].coldkey, stake_tao=1000.0, permit=True),
        NeuronSpec(hotkeys["idle"].hotkey, Keypair.create_from_uri("//other").ss58_address, stake_tao=10.0),
        *(NeuronSpec(miner, miner, ip="127.0.0.1", port=9000 + index) for index, miner in enumerate(miners)),
    ]

    @contextmanager
    def serve(more: Sequence[NeuronSpec] = (), **fields: Any) -> Iterator[ServedChain]:
        config = {"block_time_s": 0.1, "tempo_blocks": 1000, "rate_limit_blocks": RATE_LIMIT_BLOCKS} | fields
        chain = DevnetChain(ChainConfig(**config), [*neurons, *more])
        home = tmp_path_factory.mktemp("home")
        with serve_in_thread(chain) as address:

            def settings(**changes: Any) -> Settings:
                defaults = {
                    "loosh_home": home,
                    "netuid": chain.config.netuid,
                    "subtensor_address": f"ws://{address}",
                    "wallet_path": wallet_path,
                    "wallet_name": WALLET,
                    "hotkey_name": "validator",
                    "chain_timeout_s": 30.0,
                }
                return Settings(_env_file=None, **(defaults | changes))

            yield ServedChain(chain, f"ws://{address}", settings)

    return serve


@pytest.fixture(scope="module")
def devnet_chain(serve_devnet: Callable[..., Any]) -> Iterator[ServedChain]:
    with serve_devnet() as served:
        yield served


@pytest.fixture(scope="module")
def ticking(serve_devnet: Callable[..., Any]) -> Iterator[Callable[[bool], tuple[ServedChain, Clock]]]:
    """A chain whose blocks can be held, and one with commit-reveal where nothing is revealed for long; each once."""
    with ExitStack() as stack:

        @cache
        def started(commit_reveal: bool) -> tuple[ServedChain, Clock]:
            config = {"block_time_s": 0, "rate_limit_blocks": 0, "tempo_blocks": 60_000 if commit_reveal else 1000}
            served = stack.enter_context(serve_devnet(commit_reveal=commit_reveal, **config))
            served.chain.tick()
            clock = Clock(served.chain.tick)
            stack.callback(clock.end)
            return served, clock

        yield started


@pytest.fixture(scope="module")
def ticking_late(serve_devnet: Callable[..., Any]) -> Iterator[tuple[ServedChain, Clock]]:
    """Blocks are final when eight more are made."""
    with serve_devnet(block_time_s=0, rate_limit_blocks=0, finality_lag_blocks=8) as served:
        served.chain.tick(9)
        clock = Clock(served.chain.tick)
        try:
            yield served, clock
        finally:
            clock.end()


@pytest.fixture
def late_bench(ticking_late: tuple[ServedChain, Clock], tmp_path: Path) -> Iterator[Bench]:
    yield from running(*ticking_late, tmp_path)


@pytest.fixture
def commit_reveal() -> bool:
    """To be parametrized where it makes a difference."""
    return False


@pytest.fixture
def bench(ticking: Callable[[bool], tuple[ServedChain, Clock]], commit_reveal: bool, tmp_path: Path) -> Iterator[Bench]:
    yield from running(*ticking(commit_reveal), tmp_path)


def running(served: ServedChain, clock: Clock, tmp_path: Path) -> Iterator[Bench]:
    """A bench while blocks are made."""
    clock.running.set()
    yield bench_of(served, clock, tmp_path)
    clock.running.clear()


def bench_of(served: ServedChain, clock: Clock | None, tmp_path: Path) -> Bench:
    """Beside a served chain; without a clock, one that makes its blocks by itself."""
    settings = served.settings(loosh_home=tmp_path / "loosh")
    Inbox.open(settings.inbox_url).engine.dispose()
    return Bench(served, clock, settings, served.chain.head.number + 1)
