"""What the Challenge API is told about one round: the response batch, or in test mode one answer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from loosh_pipeline.domain import Challenge, Hotkey, Outcome, Response
from loosh_pipeline.wire.messages import usage_dict

_REQUEST_DEFAULTS: Mapping[str, Any] = {
    "id": None,
    "correlation_id": None,
    "prompt": None,
    "messages": None,
    "model": None,
    "tools": None,
    "tool_choice": None,
    "temperature": None,
    "top_p": None,
    "max_tokens": None,
    "metadata": None,
    "created_at": None,
    "status": "available",
    "requester": None,
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The verdict on a round as the network words it. No best miner: the API forwards no answer."""

    consensus_score: float
    emissions: Mapping[Hotkey, float] = field(default_factory=dict)
    best_miner: Hotkey | None = None
    heatmap_path: str | None = None
    narrative: str | None = None
    sybil_detection: Mapping[str, Any] | None = None


def build_response_batch(
    challenge: Challenge, responses: Sequence[Response], evaluation: Evaluation, validator_hotkey: str
) -> dict[str, Any]:
    """The batch of one challenge, JSON-ready. Only miners that answered have an entry."""
    answered = [response for response in responses if response.outcome is Outcome.ANSWERED]
    return {
        "challenge_id": challenge.id,
        "responses": [_response_entry(response) for response in answered],
        "evaluation": {
            "consensus_score": evaluation.consensus_score,
            "emissions": dict(evaluation.emissions),
            "best_miner_id": evaluation.best_miner,
            "heatmap_path": evaluation.heatmap_path,
            "narrative": evaluation.narrative,
            "sybil_detection": evaluation.sybil_detection,
        },
        "validator_hotkey": validator_hotkey,
        "original_request": _original_request(challenge),
    }


def build_callback(challenge: Challenge, text: str) -> dict[str, Any]:
    """One answer to a challenge, unevaluated."""
    return {"id": challenge.id, "text": text, "original_request": _original_request(challenge)}


def fastest_answer(responses: Sequence[Response]) -> Response | None:
    """The answer that came first, of those with text if there are any; None when nobody answered."""
    answered = [response for response in responses if response.outcome is Outcome.ANSWERED]
    return min(answered, key=lambda r: (not r.text.strip(), r.elapsed_ms or 0.0, r.hotkey), default=None)


def _response_entry(response: Response) -> dict[str, Any]:
    calls = response.tool_calls
    return {
        "miner_id": response.hotkey,
        "miner_uid": response.uid,
        "text": response.text,
        "tool_calls": None if calls is None else [dict(call) for call in calls],
        "finish_reason": response.finish_reason or "stop",
        "response_time_ms": round(response.elapsed_ms or 0.0),
        "usage": usage_dict(response.usage),
    }


def _original_request(challenge: Challenge) -> dict[str, Any]:
    """The request as received, with every field the API knows, and when it came if it did not say."""
    request = {**_REQUEST_DEFAULTS, "id": challenge.id, **challenge.original}
    if request["created_at"] is None:
        request["created_at"] = challenge.received_at.astimezone(UTC).isoformat()
    if challenge.timing_data is not None:
        request["metadata"] = {**(request["metadata"] or {}), "timing_data": dict(challenge.timing_data)}
    return request
