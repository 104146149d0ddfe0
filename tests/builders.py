"""One builder per domain object: valid by default, every field overridable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from loosh_pipeline.domain import Block, Challenge, Emission, Metagraph, Neuron, Outcome, Response

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def challenge(**fields: Any) -> Challenge:
    prompt = fields.get("prompt", "Why is the sky blue?")
    defaults = {
        "id": "c-1",
        "prompt": prompt,
        "model": "Qwen/Qwen2.5-32B-Instruct",
        "max_tokens": 256,
        "temperature": 0.7,
        "top_p": 0.95,
        "received_at": NOON,
        "original": {"id": fields.get("id", "c-1"), "prompt": prompt},
    }
    return Challenge(**(defaults | fields))


def neuron(uid: int = 1, **fields: Any) -> Neuron:
    defaults = {
        "uid": uid,
        "hotkey": f"hotkey-{uid}",
        "coldkey": f"coldkey-{uid}",
        "ip": "127.0.0.1",
        "port": 9000 + uid,
        "validator_permit": False,
        "stake": 1.0,
        "last_update": 0,
    }
    return Neuron(**(defaults | fields))


def metagraph(neurons: tuple[Neuron, ...] | None = None, **fields: Any) -> Metagraph:
    defaults = {
        "netuid": 78,
        "block": Block(100),
        "block_hash": "0x" + "ab" * 32,
        "spec_version": 461,
        "taken_at": NOON,
        "tempo_blocks": 360,
        "activity_cutoff_blocks": 5000,
        "weights_rate_limit_blocks": 5,
        "min_allowed_weights": 1,
        "weights_version_key": 0,
        "commit_reveal": False,
        "neurons": neurons if neurons is not None else tuple(neuron(uid) for uid in range(4)),
    }
    return Metagraph(**(defaults | fields))


def response(hotkey: str = "hotkey-1", **fields: Any) -> Response:
    defaults = {
        "challenge_id": "c-1",
        "hotkey": hotkey,
        "coldkey": "coldkey-1",
        "uid": 1,
        "ip": "127.0.0.1",
        "port": 9001,
        "outcome": Outcome.ANSWERED,
        "text": "Because air scatters blue light more than red light.",
        "elapsed_ms": 120.0,
    }
    return Response(**(defaults | fields))


def emission(hotkey: str = "hotkey-1", **fields: Any) -> Emission:
    defaults = {
        "hotkey": hotkey,
        "asked": 10,
        "answered": 10,
        "paid": 10,
        "mean_payout": 0.5,
        "emission": 0.5,
        "weight": 0.5,
    }
    return Emission(**(defaults | fields))
