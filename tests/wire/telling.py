"""One body of every kind that the Challenge API is told, by the builders that make them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from loosh_pipeline.domain import ChallengeId, DeliveryKind, Hotkey, Uid, Usage
from loosh_pipeline.scoring.accusations import Accusation, network_report
from loosh_pipeline.scoring.pairs import PairHistory
from loosh_pipeline.wire.batch import Evaluation, build_callback, build_response_batch
from loosh_pipeline.wire.reports import (
    Penalty,
    build_heatmap_upload,
    build_network_report,
    build_penalty_report,
    build_sybil_reports,
)
from tests.builders import NOON, challenge, metagraph, neuron, response
from tests.wire.peers import VALIDATOR

GOLDEN = Path(__file__).parent / "golden"
OWN = Hotkey(VALIDATOR.ss58_address)
ID = ChallengeId("7b0f6a1e-3c1c-4f0f-9d0a-5c1d2e3f4a5b")
FIRST, SECOND = Hotkey("5FirstMiner"), Hotkey("5SecondMiner")
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
REQUEST = {
    "id": ID,
    "correlation_id": "corr-1",
    "prompt": "Why is the sky blue? \N{EARTH GLOBE EUROPE-AFRICA}",
    "messages": None,
    "model": None,
    "tools": None,
    "tool_choice": None,
    "temperature": 0.7,
    "top_p": None,
    "max_tokens": 512,
    "metadata": {"model": "Qwen/Qwen2.5-32B-Instruct"},
    "created_at": "2026-01-02T12:00:00+00:00",
    "status": "available",
    "requester": None,
}
ASKED = challenge(id=ID, prompt=REQUEST["prompt"], original=REQUEST)
SUBNET = metagraph(
    (
        neuron(0, hotkey=OWN),
        neuron(12, hotkey=FIRST, coldkey="5Cold", ip="100.40.50.60", port=8091),
        neuron(13, ip=None, port=0),
        neuron(14, ip="0.0.0.0"),
        neuron(15, port=0),
    )
)


def _batch() -> dict[str, Any]:
    usage = Usage(prompt_tokens=11, completion_tokens=42, total_tokens=53)
    answers = [
        response(FIRST, uid=12, text="Because air scatters blue light.", elapsed_ms=811.6, usage=usage),
        response(SECOND, uid=13, text="", elapsed_ms=90.2, tool_calls=(TOOL_CALL,), finish_reason="tool_calls"),
    ]
    return build_response_batch(ASKED, answers, Evaluation(0.83, {FIRST: 0.41, SECOND: 0.0}, FIRST), OWN)


def _sybil_report() -> dict[str, Any]:
    pair = (FIRST, SECOND)
    history = PairHistory(
        8, 8.0, 0.95, 0.9, mean_wording=0.9, alike_rate=1.0, degree=1.0, same_address=False, same_coldkey=True
    )
    accused = Accusation(*pair, 8, 8.0, 0.95, 0.9, same_address=False, same_coldkey=True)
    record = network_report(OWN, [accused], {pair: history}, texts={pair: ("the same", "the same")})
    assert record is not None
    (report,) = build_sybil_reports([record])
    return report


def bodies() -> Mapping[DeliveryKind, dict[str, Any]]:
    penalties = [Penalty(FIRST, Uid(12), "graduated", 0.25), Penalty(SECOND, None, "zeroed", 1.0)]
    at = NOON + timedelta(microseconds=123456)
    return {
        DeliveryKind.RESPONSE_BATCH: _batch(),
        DeliveryKind.CALLBACK: build_callback(ASKED, "Because air scatters blue light."),
        DeliveryKind.HEATMAP: build_heatmap_upload(ID, f"{ID}.png", b"\x89PNG\r\n\x1a\n"),
        DeliveryKind.SYBIL_REPORT: _sybil_report(),
        DeliveryKind.NETWORK_REPORT: build_network_report(SUBNET, OWN),
        DeliveryKind.PENALTY_REPORT: build_penalty_report(OWN, penalties, at),
    }


def golden(kind: DeliveryKind) -> bytes:
    """The bytes of a body as the network has them."""
    return (GOLDEN / f"{kind}.json").read_bytes().rstrip(b"\n")
