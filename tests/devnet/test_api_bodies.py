"""The devnet's Challenge API understands a body or refuses it; no stranger's bytes do anything else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet import api_bodies
from loosh_pipeline.devnet.api_switches import Turn
from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.errors import WireError
from tests.wire.telling import OWN, bodies

CHECKS = [
    (api_bodies.check_batch, DeliveryKind.RESPONSE_BATCH),
    (api_bodies.check_callback, DeliveryKind.CALLBACK),
    (api_bodies.check_upload, DeliveryKind.HEATMAP),
    (api_bodies.check_sybil_report, DeliveryKind.SYBIL_REPORT),
    (api_bodies.check_network_report, DeliveryKind.NETWORK_REPORT),
    (api_bodies.check_penalty_report, DeliveryKind.PENALTY_REPORT),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a body can be changed."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in children for place in [(*path, key), *places(child, (*path, key))]]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@given(data=st.data())
def test_a_body_that_is_wrong_anywhere_is_refused_or_harmless(data: st.DataObject) -> None:
    check, kind = data.draw(st.sampled_from(CHECKS))
    body = bodies()[kind]
    wrong = changed(body, data.draw(st.sampled_from(places(body))), data.draw(VALUES))
    with contextlib.suppress(WireError):
        api_bodies.parsed(json.dumps(wrong).encode(), kind, check, OWN)


@given(body=st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize(
    "check", [check for check, _ in CHECKS] + [api_bodies.check_hotkeys, api_bodies.check_challenge]
)
def test_any_bytes_are_refused(check: api_bodies.Check, body: bytes) -> None:
    with pytest.raises(WireError):
        api_bodies.parsed(body, "body", check, OWN)


@given(values=st.dictionaries(st.sampled_from(["status", "retry_after", "hang"]) | st.text(), VALUES))
def test_any_switch_is_a_turn_or_refused(values: dict[str, Any]) -> None:
    try:
        turn = Turn.of(values)
    except WireError:
        return
    assert turn.status is None or 200 <= turn.status <= 599


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (DeliveryKind.HEATMAP, {"data": "é"}),
        (DeliveryKind.HEATMAP, {"file_type": "picture"}),
        (DeliveryKind.HEATMAP, {"content_type": "text/html"}),
        (DeliveryKind.PENALTY_REPORT, {"timestamp": "2026-01-02T12:00:00+00:00"}),
        (DeliveryKind.PENALTY_REPORT, {"timestamp": "noon"}),
        (DeliveryKind.PENALTY_REPORT, {"penalties": [{"miner_hotkey": "5A", "penalty_type": "harsh"}]}),
        (DeliveryKind.SYBIL_REPORT, {"records": []}),
        (DeliveryKind.NETWORK_REPORT, {"observations": [{"miner_hotkey": "5A", "ip_address": "1.2.3.4"}]}),
        (DeliveryKind.CALLBACK, {"more": 1}),
    ],
)
def test_a_strict_receiver_refuses(kind: DeliveryKind, change: dict[str, Any]) -> None:
    check = next(check for check, of in CHECKS if of is kind)
    with pytest.raises(WireError):
        api_bodies.parsed(json.dumps(bodies()[kind] | change).encode(), kind, check, OWN)
