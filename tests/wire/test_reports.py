"""Pictures and reports in the Challenge API's shapes."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone

import pytest

from loosh_pipeline.domain import ChallengeId, Hotkey, Uid
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.batch import Evaluation, build_callback, build_response_batch, fastest_answer
from loosh_pipeline.wire.reports import (
    MAX_RECORDS,
    Penalty,
    build_heatmap_upload,
    build_network_report,
    build_penalty_report,
    build_sybil_reports,
)
from tests.builders import NOON, Outcome, challenge, metagraph, neuron, response

OWN = Hotkey("hotkey-0")


def test_a_picture_arrives_as_it_was_drawn() -> None:
    body = build_heatmap_upload(ChallengeId("c-1"), "c-1.png", bytes(range(256)))
    assert base64.b64decode(body["data"], validate=True) == bytes(range(256))


@pytest.mark.parametrize(("records", "reports"), [(0, []), (1, [1]), (10, [10]), (21, [10, 10, 1])])
def test_no_report_has_more_records_than_are_taken(records: int, reports: list[int]) -> None:
    built = build_sybil_reports([{"n": n} for n in range(records)])
    assert [len(report["records"]) for report in built] == reports
    assert [record["n"] for report in built for record in report["records"]] == list(range(records))
    assert MAX_RECORDS == 10


def test_neither_oneself_nor_who_serves_nothing_is_observed() -> None:
    silent = [
        neuron(2, ip=None, port=0),
        neuron(3, ip=""),
        neuron(4, ip="0"),
        neuron(5, ip="0.0.0.0"),
        neuron(6, port=0),
    ]
    report = build_network_report(metagraph((neuron(0), neuron(1), *silent)), OWN)
    assert report["validator_hotkey"] == OWN
    assert [each["miner_hotkey"] for each in report["observations"]] == ["hotkey-1"]


def test_w_37_a_time_is_told_in_utc_without_an_offset_and_a_naive_one_is_refused() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5)))
    assert build_penalty_report(OWN, [], east)["timestamp"] == "2026-01-02T12:00:00"
    with pytest.raises(WireError, match="naive"):
        build_penalty_report(OWN, [], NOON.replace(tzinfo=None))
    created_at = build_response_batch(challenge(original={}, received_at=east), [], Evaluation(0.0), OWN)[
        "original_request"
    ]["created_at"]
    assert datetime.fromisoformat(created_at) == NOON
    assert created_at.endswith("+00:00")


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_penalty_for_no_score_is_refused(score: float) -> None:
    with pytest.raises(WireError, match="is not from 0 to 1"):
        build_penalty_report(OWN, [Penalty(Hotkey("hotkey-1"), Uid(1), "zeroed", score)], NOON)


def test_a_callback_holds_the_request_as_it_came() -> None:
    original = {"id": "c-1", "prompt": "hi", "created_at": "2026-01-01T00:00:00"}
    body = build_callback(challenge(original=original), "blue")
    assert (body["id"], body["text"], body["original_request"]["created_at"]) == ("c-1", "blue", original["created_at"])


def test_the_fastest_is_the_first_answer_with_text() -> None:
    slow = response("a", elapsed_ms=200.0)
    fast = response("b", elapsed_ms=100.0, text="[TEST MODE] echo")
    wordless = response("c", elapsed_ms=1.0, text="", tool_calls=({"id": "1"},))
    failed = response("d", elapsed_ms=0.5, outcome=Outcome.EMPTY)
    assert fastest_answer([slow, fast, wordless, failed]) is fast
    assert fastest_answer([wordless, failed]) is wordless
    assert fastest_answer([failed]) is None


def test_w_33_timing_of_a_challenge_is_told_as_it_came_and_nothing_is_added_to_it() -> None:
    timing = {"stages": [{"stage_name": "gateway_receive"}]}
    original = {"id": "c-1", "metadata": {"model": "m", "timing_data": timing}}
    asked = challenge(original=original, timing_data=timing)
    before = repr(original)
    batches = [build_response_batch(asked, [response(name)], Evaluation(0.0), OWN) for name in ("a", "b")]
    assert [batch["original_request"]["metadata"]["timing_data"] for batch in batches] == [timing, timing]
    assert repr(original) == before
