"""The Challenge API is told the same bytes as ever, whatever becomes of the code that builds them."""

from __future__ import annotations

import base64
import json

import pytest

from loosh_pipeline.devnet import api_bodies
from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import (
    decrypt_symmetric_key,
    encrypt_symmetric_key,
    new_symmetric_key,
    unseal,
    verify_signature,
)
from loosh_pipeline.wire.messages import api_signed_text, build_api_key_exchange, parse_api_key_exchange
from tests.wire.peers import VALIDATOR, rsa_key
from tests.wire.telling import FIRST, ID, OWN, bodies, golden

CHECKS = {
    DeliveryKind.RESPONSE_BATCH: api_bodies.check_batch,
    DeliveryKind.CALLBACK: api_bodies.check_callback,
    DeliveryKind.HEATMAP: api_bodies.check_upload,
    DeliveryKind.SYBIL_REPORT: api_bodies.check_sybil_report,
    DeliveryKind.NETWORK_REPORT: api_bodies.check_network_report,
    DeliveryKind.PENALTY_REPORT: api_bodies.check_penalty_report,
}
FERNET_KEY = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
FERNET_TOKEN = (
    b"gAAAAABnS6cAAAECAwQFBgcICQoLDA0OD_98rRWDL_XG7Of7uqQNbUsrmSFCLHbU-6VElvbdDJPGtJSixMlXHixkCqk_MZ7l7pUbqMH5uAB-"
    b"KZJsnqMCV_8="
)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_every_kind_is_built_to_the_byte(kind: DeliveryKind) -> None:
    assert encode_json(bodies()[kind]) == golden(kind)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_every_kind_is_accepted_by_a_strict_receiver_from_its_sender_only(kind: DeliveryKind) -> None:
    assert api_bodies.parsed(golden(kind), kind, CHECKS[kind], OWN) == json.loads(golden(kind))
    if b"validator_hotkey" in golden(kind):
        with pytest.raises(api_bodies.WireError, match="who sent it"):
            api_bodies.parsed(golden(kind), kind, CHECKS[kind], FIRST)


def test_w_20_a_challenge_has_its_own_id_in_everything_that_is_told_of_it() -> None:
    told = bodies()
    batch, callback = told[DeliveryKind.RESPONSE_BATCH], told[DeliveryKind.CALLBACK]
    assert (batch["challenge_id"], batch["original_request"]["id"]) == (ID, ID)
    assert (callback["id"], callback["original_request"]["id"]) == (ID, ID)
    upload = told[DeliveryKind.HEATMAP]
    assert (upload["challenge_id"], upload["filename"]) == (ID, f"{ID}.png")


def test_w_21_usage_tool_calls_and_finish_reason_of_a_miner_arrive() -> None:
    with_usage, with_tools = bodies()[DeliveryKind.RESPONSE_BATCH]["responses"]
    assert with_usage["usage"] == {"prompt_tokens": 11, "completion_tokens": 42, "total_tokens": 53}
    assert with_tools["finish_reason"] == "tool_calls"
    assert with_tools["tool_calls"][0]["function"]["name"] == "add"


def test_vector_of_the_payload_cipher() -> None:
    assert unseal(FERNET_KEY, FERNET_TOKEN) == b'{"id": "c-1", "prompt": "hi"}'


def test_key_exchange_has_the_fields_codings_and_signed_text_of_the_network() -> None:
    key = new_symmetric_key()
    ciphertext = encrypt_symmetric_key(rsa_key().public_key(), key)
    body = build_api_key_exchange(VALIDATOR, ID, ciphertext, timestamp_s=1733011200.123456)
    assert list(body) == [
        "encrypted_symmetric_key",
        "key_uuid",
        "timestamp",
        "signature",
        "validator_hotkey_ss58",
    ]
    assert decrypt_symmetric_key(rsa_key(), base64.b64decode(body["encrypted_symmetric_key"], validate=True)) == key
    assert (body["key_uuid"], body["validator_hotkey_ss58"]) == (ID, OWN)
    assert b'"timestamp": 1733011200.123456' in encode_json(body)
    assert len(body["signature"]) == 128
    verify_signature(f"1733011200.123456.{OWN}.{ID}".encode(), bytes.fromhex(body["signature"]), OWN)
    assert api_signed_text(1733011200.0, OWN, "u") == f"1733011200.0.{OWN}.u".encode()
    assert parse_api_key_exchange(encode_json(body)).ciphertext == ciphertext
