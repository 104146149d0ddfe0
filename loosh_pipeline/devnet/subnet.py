"""A whole subnet on one machine: a chain, miners that serve, and a Challenge API, all in one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from bittensor_core import Keypair

from loosh_pipeline.chain.wallet import coldkey_of, create_wallet, hotkey_file, load_signer
from loosh_pipeline.devnet.answers import SHIPPED_ANSWERS, AnswerBook
from loosh_pipeline.devnet.api_endpoints import ApiSays
from loosh_pipeline.devnet.behaviours import DELAY_RANGE_S, Behaviour, MinerScript, default_cast, scripts
from loosh_pipeline.devnet.chain import ChainConfig, ChainFault, DevnetChain, NeuronSpec, serve_chain
from loosh_pipeline.devnet.chain.faults import chain_faults_named
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.devnet.faults import Fault, faults_named
from loosh_pipeline.devnet.miner_app import create_miner_app
from loosh_pipeline.devnet.servers import HOST, Served, serve_apps
from loosh_pipeline.domain import Coldkey, Hotkey
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.sending import challenges, push_all
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.pushing import PlainSender

VALIDATOR_STAKE_TAO = 10_000.0
MINER_COLDKEY_URI = "//loosh-devnet//cold"
PROMPT_PARAMETERS = {"max_tokens": 512, "temperature": 0.7}


@dataclass(frozen=True, slots=True)
class DevnetConfig:
    """What the subnet consists of. Port 0 takes any free one; miners take consecutive ports from `miner_port`."""

    wallet_path: Path
    wallet_name: str = "validator"
    hotkey_name: str = "validator"
    chain: ChainConfig = field(default_factory=ChainConfig)
    chain_port: int = 0
    challenge_api_port: int = 0
    miner_port: int = 0
    miners: int = 10
    answers: Path = SHIPPED_ANSWERS
    behaviour: Behaviour | None = None
    """Of all miners; None: the default cast."""
    delay_range_s: tuple[float, float] = DELAY_RANGE_S
    faults: tuple[Fault, ...] = ()
    """One more miner for each, good but for this fault."""
    chain_faults: tuple[ChainFault, ...] = ()
    """What the chain does from the start."""


def devnet_config(
    settings: Settings, chain: Mapping[str, Any], faults: Iterable[str], chain_faults: Iterable[str], **fields: Any
) -> DevnetConfig:
    """The subnet that these settings are for. Raises DevnetError for a fault that there is not."""
    return DevnetConfig(
        wallet_path=settings.home / "devnet" / "wallets",  # never among real wallets
        chain=ChainConfig(netuid=settings.netuid, **chain),
        faults=faults_named(faults),
        chain_faults=chain_faults_named(chain_faults),
        **fields,
    )


@dataclass(frozen=True, slots=True)
class MinerInfo:
    hotkey: Hotkey
    uid: int
    behaviour: Behaviour
    port: int
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class DevnetInfo:
    """Where a running devnet is, and who is in it."""

    netuid: int
    chain_url: str
    challenge_api_url: str
    wallet_path: str
    wallet_name: str
    hotkey_name: str
    validator: Hotkey
    prompts: tuple[str, ...]
    miners: tuple[MinerInfo, ...]

    def environment(self) -> Mapping[str, str]:
        """The settings that point a validator at this subnet."""
        return {
            "NETUID": str(self.netuid),
            "SUBTENSOR_ADDRESS": self.chain_url,
            "CHALLENGE_API_URL": self.challenge_api_url,
            "WALLET_PATH": self.wallet_path,
            "WALLET_NAME": self.wallet_name,
            "HOTKEY_NAME": self.hotkey_name,
            "ALLOW_PRIVATE_ADDRESSES": "true",
            "MAX_MINERS": str(len(self.miners)),
        }

    def write(self, file: Path) -> None:
        """For other processes, who see the whole or nothing."""
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_text(self.to_json())
        temporary.replace(file)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        data = json.loads(text)
        miners = tuple(_miner_info(miner) for miner in data.pop("miners"))
        return cls(**{**data, "prompts": tuple(data["prompts"])}, miners=miners)


def _miner_info(miner: Mapping[str, Any]) -> MinerInfo:
    fault = miner["fault"]
    return MinerInfo(
        **{**miner, "behaviour": Behaviour(miner["behaviour"]), "fault": None if fault is None else Fault(fault)}
    )


@asynccontextmanager
async def serve_subnet(config: DevnetConfig) -> AsyncIterator[DevnetInfo]:
    """Serve chain, miners and Challenge API until the block ends. Raises DevnetError for what cannot start.

    The validator's wallet is created when there is none; it is registered as uid 0 with permit and stake.
    """
    book = AnswerBook.load(config.answers)
    validator = _validator_hotkey(config)
    cast = _cast(config, book)
    hotkeys = [Keypair.create_from_uri(f"//loosh-devnet//miner//{index}").ss58_address for index in range(len(cast))]
    wanted = [_served(hotkey, script, config, i) for i, (hotkey, script) in enumerate(zip(hotkeys, cast, strict=True))]
    says = ApiSays(validators=[{"hotkey_ss58": validator, "validator_permit": True, "metadata": {}}])
    api = Served(create_challenge_api_app(says=says), config.challenge_api_port)
    async with serve_apps([api, *wanted]) as (api_port, *ports):
        # Another chain each time: what a validator has on record of the one before is not of this one.
        salted = replace(config.chain, salt=config.chain.salt or os.urandom(16))
        coldkey = coldkey_of(config.wallet_path, config.wallet_name)
        chain = DevnetChain(salted, _neurons(validator, coldkey, hotkeys, ports))
        for fault in config.chain_faults:
            chain.faults.switch(fault)
        async with serve_chain(chain, HOST, config.chain_port) as chain_port:
            yield DevnetInfo(
                netuid=config.chain.netuid,
                chain_url=f"ws://{HOST}:{chain_port}",
                challenge_api_url=f"http://{HOST}:{api_port}",
                wallet_path=str(config.wallet_path.expanduser().absolute()),
                wallet_name=config.wallet_name,
                hotkey_name=config.hotkey_name,
                validator=validator,
                prompts=book.prompts,
                miners=tuple(
                    MinerInfo(Hotkey(hotkey), uid, script.behaviour, port, script.fault)
                    for uid, (hotkey, script, port) in enumerate(zip(hotkeys, cast, ports, strict=True), start=1)
                ),
            )


def _cast(config: DevnetConfig, book: AnswerBook) -> list[MinerScript]:
    """The miners of the subnet, those with a fault last."""
    alike = None if config.behaviour is None else (config.behaviour,) * config.miners
    behaviours = (*(alike or default_cast(config.miners)), *(Behaviour.GOOD for _ in config.faults))
    faults = (*(None for _ in range(config.miners)), *config.faults)
    parts = scripts(behaviours, book, delay_range_s=config.delay_range_s)
    return [replace(part, fault=fault) for part, fault in zip(parts, faults, strict=True)]


def _validator_hotkey(config: DevnetConfig) -> Hotkey:
    if not hotkey_file(config.wallet_path, config.wallet_name, config.hotkey_name).exists():
        create_wallet(config.wallet_path, config.wallet_name, config.hotkey_name)
    return Hotkey(load_signer(config.wallet_path, config.wallet_name, config.hotkey_name).ss58_address)


def _served(hotkey: str, script: MinerScript, config: DevnetConfig, index: int) -> Served:
    port = config.miner_port + index if config.miner_port else 0
    return Served(create_miner_app(Hotkey(hotkey), script) if script.serves else None, port)


def _neurons(
    validator: Hotkey, own_coldkey: Coldkey | None, hotkeys: Sequence[str], ports: Sequence[int]
) -> list[NeuronSpec]:
    """`own_coldkey`: of the validator's wallet, which may hold a hotkey alone."""
    coldkeys = [Keypair.create_from_uri(f"{MINER_COLDKEY_URI}//{i}").ss58_address for i in range(len(hotkeys))]
    owner = Keypair.create_from_uri(MINER_COLDKEY_URI).ss58_address
    return [
        NeuronSpec(validator, own_coldkey or owner, stake_tao=VALIDATOR_STAKE_TAO, permit=True),
        *(
            NeuronSpec(hotkey, coldkey, ip=HOST, port=port)
            for hotkey, coldkey, port in zip(hotkeys, coldkeys, ports, strict=True)
        ),
    ]


async def run_subnet(
    config: DevnetConfig,
    started: Callable[[DevnetInfo], None],
    *,
    push_to: str | None = None,
    every_s: float = 30.0,
) -> None:
    """Serve until SIGINT or SIGTERM; with `push_to`, push a prompt to that validator every `every_s` seconds."""
    if every_s <= 0:
        raise DevnetError(f"challenges every {every_s} s cannot be pushed; give a time above zero")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve_subnet(config) as info:
        started(info)
        pushing = asyncio.create_task(_push_for_ever(info, push_to, every_s)) if push_to else None
        await stop.wait()
        if pushing:
            pushing.cancel()


async def _push_for_ever(info: DevnetInfo, validator_url: str, every_s: float) -> None:
    while True:
        prompts = [{"prompt": prompt} for prompt in info.prompts]
        await push_all(challenges(prompts, None, PROMPT_PARAMETERS), PlainSender(validator_url), 1 / every_s)
