"""A client of the chain stand-in that shares no code with it: calls and signatures come from `bittensor_core`."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any

import bittensor_core
from bittensor_core import Keypair

from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec
from loosh_pipeline.devnet.chain.runtime import RuntimeName, load_runtime

NETUID = 78
VALIDATOR, IDLE, MINER, OUTSIDER = (Keypair.create_from_uri(f"//{name}") for name in ("val", "idle", "miner", "out"))
OWNER_COLDKEY = Keypair.create_from_uri("//owner").ss58_address
COLDKEY = Keypair.create_from_uri("//cold").ss58_address
NEURONS = [
    NeuronSpec(MINER.ss58_address, OWNER_COLDKEY, ip="127.0.0.1", port=9001),
    NeuronSpec(VALIDATOR.ss58_address, COLDKEY, stake_tao=1000.0, permit=True),
    NeuronSpec(IDLE.ss58_address, COLDKEY, stake_tao=5.0),
]


@cache
def codec(name: RuntimeName = "current", spec_version: int = 461) -> Any:
    """The client's own codec for a runtime."""
    return bittensor_core.Runtime(load_runtime(name).metadata_v15, spec_version, 1, 42)


def new_chain(**config: Any) -> DevnetChain:
    """A chain that makes blocks when told to. Uids: miner (the owner's) 0, validator 1, idle 2."""
    return DevnetChain(ChainConfig(**({"block_time_s": 0.0} | config)), NEURONS)


def weights_call(function: str = "set_mechanism_weights", **changes: Any) -> bytes:
    args = {"netuid": NETUID, "mecid": 0, "dests": [0, 2], "weights": [65535, 100], "version_key": 0} | changes
    if function == "set_weights":
        del args["mecid"]
    return bytes(codec().compose_call("SubtensorModule", function, args))


def commit_call(function: str = "commit_timelocked_mechanism_weights", **changes: Any) -> bytes:
    args = {"netuid": NETUID, "mecid": 0, "commit": b"\xff\x00sealed", "reveal_round": 1000, "commit_reveal_version": 4}
    args |= changes
    if function == "commit_timelocked_weights":
        del args["mecid"]
    return bytes(codec().compose_call("SubtensorModule", function, args))


def serve_call(ip: str | int = "203.0.113.7", **changes: Any) -> bytes:
    number = ip if isinstance(ip, int) else int(ipaddress.ip_address(ip))
    defaults = {"netuid": NETUID, "version": 1, "ip": number, "port": 8091, "ip_type": 4, "protocol": 4}
    args = defaults | {"placeholder1": 0, "placeholder2": 0} | changes
    return bytes(codec().compose_call("SubtensorModule", "serve_axon", args))


def signed(
    chain: DevnetChain,
    call: bytes,
    keypair: Keypair = VALIDATOR,
    *,
    nonce: int | None = None,
    era: Any = "00",
    era_block_hash: str | None = None,
    tip: int = 0,
) -> bytes:
    """A signed extrinsic for this chain; immortal unless an era is given."""
    parts = {
        "era": era,
        "nonce": chain.next_nonce(keypair.ss58_address) if nonce is None else nonce,
        "tip": tip,
        "tip_asset_id": None,
    }
    genesis, born = chain.genesis.hash, era_block_hash or chain.genesis.hash
    hashes = {"genesis_hash": bytes.fromhex(genesis[2:]), "era_block_hash": bytes.fromhex(born[2:])}
    client = codec(chain.runtime.name, chain.runtime.spec_version)
    payload = client.signature_payload(call, **parts, **hashes)
    raw, _ = client.encode_signed_extrinsic(
        call,
        public_key=bytes(keypair.public_key),
        signature=keypair.sign(bytes(payload)),
        signature_version=1,
        **parts,
    )
    return bytes(raw)


def outcome(chain: DevnetChain) -> str:
    """How the signed extrinsic of the head block ended: `ExtrinsicSuccess` or the name of the error."""
    events = [record["event"] for record in chain.state().get("Events", pallet="System")]
    event = next(event for event in events if event["event_id"].startswith("Extrinsic"))
    if event["event_id"] == "ExtrinsicSuccess":
        return "ExtrinsicSuccess"
    module = event["attributes"]["dispatch_error"]["Module"]
    error = module["error"]
    index = int(error.removeprefix("0x")[:2], 16) if isinstance(error, str) else error[0]
    return str(codec(chain.runtime.name).module_error(module["index"], index)[0])


def execute(chain: DevnetChain, call: bytes, keypair: Keypair = VALIDATOR) -> str:
    """Submit a call, make a block, and say how it ended."""
    chain.submit(signed(chain, call, keypair))
    chain.tick()
    return outcome(chain)


def events(chain: DevnetChain) -> list[tuple[str, str]]:
    """Phase and name of each event of the head block."""
    return [(record["phase"], record["event_id"]) for record in chain.state().get("Events", pallet="System")]


def row(chain: DevnetChain, uid: int = 1) -> list[tuple[int, int]]:
    """The weights of a uid, the validator's by default."""
    return [tuple(entry) for entry in chain.state().get("Weights", NETUID, uid)]
