"""What the Challenge API says of hotkeys: in any shape it comes, and no odd entry costs the others."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.network_view import MAX_PRIORITY_WEIGHT, ScoresSaid, parse_sybil_scores, parse_validators
from tests.wire.peers import STRANGER, VALIDATOR

A, B = Hotkey("5A"), Hotkey("5B")


def scores(**entries: Any) -> ScoresSaid:
    return parse_sybil_scores(json.dumps({"scores": {f"5{name}": e for name, e in entries.items()}}).encode(), [A, B])


@pytest.mark.parametrize(
    ("entry", "sybil", "weight", "dropped"),
    [
        ({"sybil_score": 0.25, "priority_weight": 2.5, "more": 1}, 0.25, 2.5, 0),
        ({"sybil_score": 0.25}, 0.25, 1.0, 0),
        ({"sybil_score": 0.25, "priority_weight": None}, 0.25, 1.0, 0),
        ({"priority_weight": 0}, 0.0, 0.0, 0),
        ({"sybil_score": None, "priority_weight": 3}, 0.0, 3.0, 0),
        ({}, 0.0, 1.0, 0),
        (0.5, 0.5, 1.0, 0),
        (1, 1.0, 1.0, 0),
        (None, None, None, 0),
        ({"sybil_score": math.nan, "priority_weight": 2.0}, None, 2.0, 1),
        ({"sybil_score": 1.01, "priority_weight": -1}, None, None, 2),
        ({"sybil_score": -0.1}, None, 1.0, 1),
        ({"sybil_score": 0.5, "priority_weight": math.inf}, 0.5, None, 1),
        ({"sybil_score": 0.5, "priority_weight": 2 * MAX_PRIORITY_WEIGHT}, 0.5, None, 1),
        ({"sybil_score": 0.5, "priority_weight": 10**400}, 0.5, None, 1),
        ({"sybil_score": True, "priority_weight": "2"}, None, None, 2),
        (math.nan, None, 1.0, 1),
        ("0.5", None, 1.0, 1),
        ([0.5], None, 1.0, 1),
        (False, None, 1.0, 1),
    ],
)
def test_every_shape_of_a_score(entry: Any, sybil: float | None, weight: float | None, dropped: int) -> None:
    said = scores(A=entry, B=0.125)
    assert (said.sybil_scores.get(A), said.priority_weights.get(A), said.dropped) == (sybil, weight, dropped)
    assert (said.sybil_scores[B], said.priority_weights[B]) == (0.125, 1.0)


def test_who_was_not_asked_about_or_not_answered_is_not_spoken_of() -> None:
    assert scores(C=0.5) == ScoresSaid()
    assert scores(B=0.5) == ScoresSaid({B: 0.5}, {B: 1.0})


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"scores": []}', b'{"scores": null}', b"nope", b"\xff"])
def test_an_answer_without_scores_is_an_error(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_sybil_scores(body, [A])


def test_a_validator_has_a_permit_or_an_approval() -> None:
    own, other = VALIDATOR.ss58_address, STRANGER.ss58_address
    entries: list[Any] = [
        {"hotkey_ss58": own, "validator_permit": True, "metadata": None},
        {"hotkey_ss58": other, "validator_permit": False, "metadata": {"admin_approved": True}},
    ]
    assert parse_validators(json.dumps(entries).encode()).hotkeys == {own, other}
    neither = [{"hotkey_ss58": own}, {"hotkey_ss58": other, "validator_permit": "yes", "metadata": ["admin_approved"]}]
    assert parse_validators(json.dumps(neither).encode()).hotkeys == frozenset()
    assert parse_validators(json.dumps(neither).encode()).dropped == 0
    odd = [None, 7, {}, {"hotkey_ss58": 7}, {"hotkey_ss58": "5A", "validator_permit": True}, {"hotkey_ss58": own * 99}]
    said = parse_validators(json.dumps([*odd, *entries]).encode())
    assert (said.hotkeys, said.dropped) == ({own, other}, 6)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b'{"validators": []}', b"[" * 100_000, b"[" + b"1" * 9000 + b"]"]
)
def test_an_answer_that_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_validators(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["scores", A]), inner),
    max_leaves=12,
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_understood_or_refused(body: bytes) -> None:
    for parse in (parse_validators, lambda data: parse_sybil_scores(data, [A, B])):
        try:
            said = parse(body)
        except WireError:
            continue
        assert said.dropped >= 0


@given(entry=JSON)
def test_whatever_a_score_is_what_is_kept_is_a_finite_share_and_weight(entry: Any) -> None:
    said = parse_sybil_scores(json.dumps({"scores": {A: entry}}).encode(), [A])
    assert all(0 <= score <= 1 for score in said.sybil_scores.values())
    assert all(0 <= weight <= MAX_PRIORITY_WEIGHT for weight in said.priority_weights.values())
