"""What the Challenge API is told beside results: pictures, and reports on copying, addresses and penalties.

Builders return JSON-ready dicts in the network's field names and order.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from loosh_pipeline.domain import ChallengeId, Hotkey, Metagraph, Neuron, Uid
from loosh_pipeline.errors import WireError

MAX_RECORDS = 10
"""Records of copying that go into one report."""

PenaltyType = Literal["graduated", "zeroed"]


@dataclass(frozen=True, slots=True)
class Penalty:
    """What a miner lost for its sybil score, from 0 to 1: a part of its weight, or all of it."""

    miner: Hotkey
    uid: Uid | None
    type: PenaltyType
    sybil_score: float


def build_heatmap_upload(challenge_id: ChallengeId, filename: str, png: bytes) -> dict[str, Any]:
    """A round's picture."""
    return {
        "challenge_id": challenge_id,
        "file_type": "heatmap",
        "filename": filename,
        "content_type": "image/png",
        "data": base64.b64encode(png).decode("ascii"),
    }


def build_sybil_reports(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records of copying, up to ten a report; no report without records."""
    return [
        {"records": [dict(record) for record in records[start : start + MAX_RECORDS]]}
        for start in range(0, len(records), MAX_RECORDS)
    ]


def observed(metagraph: Metagraph, validator: Hotkey) -> tuple[Neuron, ...]:
    """Whom a validator observes: everyone that serves, but itself."""
    return tuple(neuron for neuron in metagraph.neurons if neuron.serves and neuron.hotkey != validator)


def build_network_report(metagraph: Metagraph, validator: Hotkey) -> dict[str, Any]:
    """Where everyone serves, as the chain has it."""
    return {
        "validator_hotkey": validator,
        "observations": [
            {
                "miner_hotkey": neuron.hotkey,
                "ip_address": neuron.ip,
                "miner_uid": neuron.uid,
                "coldkey": neuron.coldkey,
                "port": neuron.port,
                "asn": None,
                "asn_name": None,
            }
            for neuron in observed(metagraph, validator)
        ],
    }


def build_penalty_report(validator: Hotkey, penalties: Sequence[Penalty], at: datetime) -> dict[str, Any]:
    """Who lost weight for its sybil score. The network's timestamp is UTC without saying so.

    Raises WireError for a naive time, or a score outside 0 to 1.
    """
    if at.tzinfo is None:
        raise WireError(f"penalty report: {at!r} is naive; pass an aware datetime")
    for penalty in penalties:
        if not 0 <= penalty.sybil_score <= 1:
            raise WireError(f"penalty report: sybil score {penalty.sybil_score} of {penalty.miner} is not from 0 to 1")
    return {
        "validator_hotkey": validator,
        "timestamp": at.astimezone(UTC).replace(tzinfo=None).isoformat(),
        "penalties": [
            {
                "miner_hotkey": penalty.miner,
                "miner_uid": penalty.uid,
                "penalty_type": penalty.type,
                "sybil_score": penalty.sybil_score,
            }
            for penalty in penalties
        ],
    }
