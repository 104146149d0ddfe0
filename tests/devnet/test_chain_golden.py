"""The stand-in's bytes against those the SDK's authors recorded from a node of spec version 461 (`golden/`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bittensor_core
import pytest

from loosh_pipeline.devnet.chain.extrinsics import parse_extrinsic
from loosh_pipeline.devnet.chain.ledger import Ledger
from loosh_pipeline.devnet.chain.runtime import SPEC_VERSIONS, SS58_FORMAT, TRANSACTION_VERSION, Runtime, load_runtime
from loosh_pipeline.devnet.chain.scale import compact
from loosh_pipeline.devnet.chain.state import MutableState
from tests.devnet.chain_client import new_chain

GOLDEN: Mapping[str, Any] = json.loads((Path(__file__).parent / "golden" / "bittensor_11.3.0.json").read_text())
GENESIS = bytes.fromhex(GOLDEN["network"]["genesis_hash"][2:])
SIGNER = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.fixture(params=["recorded", "current"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """The runtime the vectors are of, and the one made from it: both must give the recorded bytes."""
    return load_runtime(request.param)


def test_versions_and_format() -> None:
    network = GOLDEN["network"]
    assert (SPEC_VERSIONS["recorded"], TRANSACTION_VERSION, SS58_FORMAT) == (
        network["spec_version"],
        network["transaction_version"],
        network["ss58_format"],
    )


def test_storage_keys_and_prefixes(runtime: Runtime) -> None:
    for vector in GOLDEN["storage_keys"]:
        item = runtime.item(vector["pallet"], vector["storage_function"])
        assert runtime.key(item, vector["params"]) == raw(vector["key_hex"])
    for vector in GOLDEN["query_maps"]:
        if not vector["params"]:
            assert runtime.prefix(vector["pallet"], vector["storage_function"]) == raw(vector["prefix_hex"])


def test_storage_values_read_as_the_sdk_reads_them_and_absent_ones_as_their_default(runtime: Runtime) -> None:
    overlay = Ledger(256).first_overlay()
    state = MutableState(runtime, overlay)
    for vector in GOLDEN["storage_values"]:
        overlay.set_raw(raw(vector["key_hex"]), None if vector["raw_hex"] is None else raw(vector["raw_hex"]))
        read = state.get(vector["storage_function"], *vector["params"], pallet=vector["pallet"])
        assert read == vector["decoded"]


def test_pages_of_a_map_hold_the_recorded_keys(runtime: Runtime) -> None:
    overlay = Ledger(256).first_overlay()
    for vector in GOLDEN["query_maps"]:
        for key, value in vector["raw_changes"]:
            overlay.set_raw(raw(key), raw(value))
        assert list(overlay.keys(raw(vector["prefix_hex"]))) == sorted(raw(key) for key in vector["raw_keys"])


def test_calls_are_decoded_and_composed_to_the_same_bytes(runtime: Runtime) -> None:
    for vector in GOLDEN["calls"]:
        call = raw(vector["data_hex"])
        decoded = runtime.decode_call(call)
        assert (decoded["call_module"], decoded["call_function"]) == (vector["module"], vector["function"])
        args = {arg["name"]: arg["value"] for arg in decoded["call_args"]}
        assert args.keys() == vector["params"].keys()
        if vector["function"] == "set_weights":
            assert args == vector["params"]
            assert runtime.compose_call(vector["module"], vector["function"], vector["params"]) == call


@pytest.mark.parametrize("vector", GOLDEN["signature_payloads"], ids=("immortal", "mortal"))
def test_what_is_signed_is_rebuilt_from_what_travels(vector: Mapping[str, Any]) -> None:
    call, payload = raw(vector["call_data_hex"]), raw(vector["payload_hex"])
    signed_only = 4 + 4 + 32 + 32 + 1
    travelling = payload[len(call) : -signed_only]
    body = raw("8400" + SIGNER + "01" + "00" * 64) + travelling + call
    extrinsic = parse_extrinsic(compact(len(body)) + body)
    born = raw(vector["era_birth_block_hash"]) if "era_birth_block_hash" in vector else GENESIS
    assert (extrinsic.nonce, extrinsic.tip) == (vector["nonce"], vector["tip"])
    assert extrinsic.payload(461, GENESIS, born) == payload
    if isinstance(vector["era"], dict):
        assert extrinsic.era is not None
        assert extrinsic.era.period == vector["era"]["period"]
        assert extrinsic.era.birth(vector["era"]["current"]) == vector["era"]["current"]


@pytest.mark.parametrize("vector", GOLDEN["extrinsics"], ids=("immortal", "mortal"))
def test_signed_extrinsics_are_taken_apart(vector: Mapping[str, Any]) -> None:
    extrinsic = parse_extrinsic(raw(vector["extrinsic_hex"]))
    assert extrinsic.hash == vector["extrinsic_hash"]
    assert (extrinsic.address, extrinsic.nonce, extrinsic.tip) == (vector["address"], vector["nonce"], vector["tip"])
    assert (extrinsic.signature, extrinsic.call) == (raw(vector["signature_hex"]), raw(vector["call_data_hex"]))


def test_addresses() -> None:
    for vector in GOLDEN["ss58"]:
        assert bittensor_core.ss58_encode(raw(vector["public_key_hex"]), SS58_FORMAT) == vector["address"]
        assert bittensor_core.ss58_decode(vector["address"]) == raw(vector["public_key_hex"])


def test_constants(runtime: Runtime) -> None:
    codec = bittensor_core.Runtime(runtime.metadata_v15, 461, 1, SS58_FORMAT)
    for vector in GOLDEN["constants"]:
        assert codec.constant(vector["module"], vector["name"]) == vector["decoded"]


def test_events_are_written_as_a_node_writes_them(runtime: Runtime) -> None:
    """What the SDK decodes, turned into what the stand-in encodes, is byte for byte the recorded storage."""
    events = [
        {
            "phase": record["phase"] if record["extrinsic_idx"] is None else {record["phase"]: record["extrinsic_idx"]},
            "event": {record["module_id"]: {record["event_id"]: record["attributes"]}},
            "topics": record["topics"],
        }
        for record in GOLDEN["events"]["decoded"]
    ]
    item = runtime.item("System", "Events")
    assert runtime.encode(item.value_type, events) == raw(GOLDEN["events"]["raw_hex"])
    assert runtime.decode(item.value_type, raw(GOLDEN["events"]["raw_hex"])) == GOLDEN["events"]["decoded"]


def test_answers_of_runtime_apis_are_encoded_as_a_node_encodes_them(runtime: Runtime) -> None:
    for vector in GOLDEN["runtime_calls"]:
        encoded = runtime.encode_api_result(vector["api"], vector["method"], vector["decoded"])
        assert encoded == raw(vector["raw_hex"]), vector["method"]


def test_a_block_starts_with_the_time_as_a_node_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = GOLDEN["block"]["raw"]["block"]["extrinsics"][0]
    now_ms = next(vector["decoded"] for vector in GOLDEN["storage_values"] if vector["pallet"] == "Timestamp")
    monkeypatch.setattr("time.time_ns", lambda: now_ms * 1_000_000)
    assert new_chain().tick().extrinsics[0] == raw(recorded)
