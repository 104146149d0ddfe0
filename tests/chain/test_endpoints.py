from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from loosh_pipeline.chain.endpoints import LATELY, Endpoints
from tests.builders import NOON

A, B, C = "wss://a/secret-key", "wss://b", "wss://c"
SECOND = timedelta(seconds=1)


def test_what_failed_lately_is_asked_last_and_remembered_across_processes(tmp_path: Path) -> None:
    file = tmp_path / "chain" / "endpoints.json"
    Endpoints([A, B, C], file).failed(A, NOON)
    Endpoints([A, B, C], file).failed(B, NOON + SECOND)
    later = Endpoints([A, B, C], file)
    assert later.in_order(NOON + 2 * SECOND) == (C, A, B), "of the failed ones, the one that failed longest ago first"
    assert later.in_order(NOON + LATELY) == (A, C, B), "then it is tried in its place again"
    later.worked(B)
    assert later.in_order(NOON + 2 * SECOND) == (B, C, A)
    assert "secret" not in file.read_text()


def test_the_first_endpoint_says_which_chain_is_meant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    endpoints = Endpoints([A, B], tmp_path / "chain" / "e.json")
    endpoints.serves(B, "0xb")
    assert [endpoints.meant_by(each) for each in (A, B)] == [None, None], "a fallback settles nothing"
    endpoints.serves(A, "0xa")
    later = Endpoints([A, B], tmp_path / "chain" / "e.json")
    assert [later.meant_by(each) for each in (A, B)] == [None, "0xa"]
    later.serves(A, "0xc")
    assert later.meant_by(B) == "0xc", "pointed at another network, the first one counts"
    assert "wss://a serves another chain: block 0 is 0xc, and was 0xa" in caplog.text
    assert Endpoints([C, B], tmp_path / "chain" / "e.json").meant_by(B) is None, "what another one served says nothing"


def test_a_clock_that_was_ahead_banishes_nothing(tmp_path: Path) -> None:
    endpoints = Endpoints([A, B], tmp_path / "e.json")
    endpoints.failed(A, NOON + timedelta(days=9))
    assert endpoints.in_order(NOON) == (A, B)


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', '{"x": "2026-01-01T00:00:00"}', "\ud800"])
def test_a_file_that_cannot_be_read_costs_nothing_but_the_order(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "e.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    endpoints = Endpoints([A, B], file)
    assert endpoints.in_order(NOON) == (A, B)
    endpoints.failed(A, NOON)
    assert endpoints.in_order(NOON) == (B, A)


def test_a_place_that_cannot_be_written_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("a file")
    with caplog.at_level(logging.WARNING):
        Endpoints([A, B], tmp_path / "taken" / "e.json").failed(A, NOON)
    assert "cannot be" in caplog.text
