"""The response batch in the Challenge API's schema."""

from __future__ import annotations

import math

import pytest

from loosh_pipeline.domain import Hotkey, Outcome, Usage
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.batch import Evaluation, build_response_batch
from loosh_pipeline.wire.codec import encode_json
from tests import builders


def test_batch_of_a_round() -> None:
    challenge = builders.challenge(id="c-9", original={"id": "c-9", "prompt": "hi", "requester": "r"})
    responses = [
        builders.response("hk-1", uid=12, text="blue", elapsed_ms=811.6, usage=Usage(1, 2, 3)),
        builders.response("hk-2", outcome=Outcome.TIMEOUT, text="", elapsed_ms=None),
    ]
    evaluation = Evaluation(0.83, {Hotkey("hk-1"): 0.41}, Hotkey("hk-1"))
    assert build_response_batch(challenge, responses, evaluation, "validator") == {
        "challenge_id": "c-9",
        "responses": [
            {
                "miner_id": "hk-1",
                "miner_uid": 12,
                "text": "blue",
                "tool_calls": None,
                "finish_reason": "stop",
                "response_time_ms": 812,
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            }
        ],
        "evaluation": {
            "consensus_score": 0.83,
            "emissions": {"hk-1": 0.41},
            "best_miner_id": "hk-1",
            "heatmap_path": None,
            "narrative": None,
            "sybil_detection": None,
        },
        "validator_hotkey": "validator",
        "original_request": {
            "id": "c-9",
            "correlation_id": None,
            "prompt": "hi",
            "messages": None,
            "model": None,
            "tools": None,
            "tool_choice": None,
            "temperature": None,
            "top_p": None,
            "max_tokens": None,
            "metadata": None,
            "created_at": "2026-01-02T12:00:00+00:00",
            "status": "available",
            "requester": "r",
        },
    }


def test_tool_calls_and_finish_reason_are_kept() -> None:
    call = {"id": "1", "function": {"name": "add"}}
    response = builders.response(text="", tool_calls=(call,), finish_reason="tool_calls")
    batch = build_response_batch(builders.challenge(), [response], Evaluation(0.0), "validator")
    assert batch["responses"][0]["tool_calls"] == [call]
    assert batch["responses"][0]["finish_reason"] == "tool_calls"


def test_original_request_goes_back_as_it_came() -> None:
    original = {"id": "c-1", "created_at": "2026-01-01T00:00:00", "metadata": {"model": "m"}, "extra": 1}
    challenge = builders.challenge(original=original, timing_data={"stages": []})
    request = build_response_batch(challenge, [], Evaluation(0.0), "validator")["original_request"]
    assert request["created_at"] == "2026-01-01T00:00:00"
    assert request["metadata"] == {"model": "m", "timing_data": {"stages": []}}
    assert request["extra"] == 1
    assert original["metadata"] == {"model": "m"}


def test_batch_with_a_score_that_is_no_number_cannot_be_encoded() -> None:
    batch = build_response_batch(builders.challenge(), [], Evaluation(math.nan), "validator")
    with pytest.raises(WireError, match="JSON"):
        encode_json(batch)
