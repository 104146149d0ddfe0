from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loosh_pipeline.domain import Hotkey, Mode
from loosh_pipeline.scoring.network.pay import (
    Candidate,
    EmissionRow,
    fresh_averages,
    mode_for,
    moving_averages,
    penalise,
    serving_miners,
    shares,
)
from loosh_pipeline.scoring.network.profile import NetworkPay

PAY = NetworkPay()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Case = dict[str, Any]


def rows(case: Case) -> list[EmissionRow]:
    return [
        EmissionRow(NOW - timedelta(hours=hours), emissions)
        for hours, emissions in case["input"]["rows_hours_ago_and_emissions"]
    ]


def readable(case: Case) -> list[EmissionRow]:
    """The rows without the value that is no number."""
    return [EmissionRow(row.at, {k: v for k, v in row.emissions.items() if v != "bad"}) for row in rows(case)]


def owners(case: Case) -> dict[str, Hotkey]:
    return {str(miner["uid"]): Hotkey(hotkey) for hotkey, miner in case["input"]["miners"].items()}


def successes(case: Case) -> dict[Hotkey, datetime]:
    hours = {hotkey: miner["last_success_h"] for hotkey, miner in case["input"]["miners"].items()}
    return {Hotkey(hotkey): NOW - timedelta(hours=ago) for hotkey, ago in hours.items() if ago is not None}


def averages_of(case: Case) -> dict[Hotkey, float]:
    return moving_averages(readable(case), NOW, PAY, owners(case))


def test_moving_averages(cases: dict[str, Case]) -> None:
    assert averages_of(cases["C16"]) == pytest.approx(cases["C16"]["output"]["ema"])


def test_the_order_of_rows_does_not_count(cases: dict[str, Case]) -> None:
    case = cases["C16"]
    assert moving_averages(readable(case)[::-1], NOW, PAY, owners(case)) == averages_of(case)


@pytest.mark.parametrize(("mode", "name"), [(Mode.NORMAL, "normal_3h"), (Mode.DEGRADED, "degraded_24h")])
def test_freshness(mode: Mode, name: str, cases: dict[str, Case]) -> None:
    case = cases["C16"]
    averages = averages_of(case)
    fresh = fresh_averages(averages, successes(case), NOW, mode, PAY)
    assert fresh == pytest.approx(case["output"][name]["scores"])
    assert sum(fresh[hotkey] != averages[hotkey] for hotkey in averages) == case["output"][name]["stale"]


def test_in_an_emergency_age_does_not_count(cases: dict[str, Case]) -> None:
    assert fresh_averages(averages_of(cases["C16"]), {}, NOW, Mode.EMERGENCY, PAY) == averages_of(cases["C16"])


def test_an_emission_that_is_no_number_is_named(cases: dict[str, Case]) -> None:
    with pytest.raises(ValueError, match=r"the emission of D in the evaluation of 2026-05-01T11.* is 'bad'"):
        moving_averages(rows(cases["C16"]), NOW, PAY)


def test_no_weight_becomes_nan(cases: dict[str, Case]) -> None:
    assert cases["C30"]["output"]["normalised"] == {"A": "NaN", "B": "NaN"}
    nan = [EmissionRow(NOW, {"A": 0.5, "B": 0.5}), EmissionRow(NOW, {"A": math.nan})]
    with pytest.raises(ValueError, match=r"the emission of A .* is nan"):
        moving_averages(nan, NOW, PAY)
    with pytest.raises(ValueError, match="the average of A is nan"):
        shares([Hotkey("A"), Hotkey("B")], {Hotkey("A"): math.nan, Hotkey("B"): 0.5}, Mode.NORMAL, PAY)


def test_what_an_average_remembers(cases: dict[str, Case]) -> None:
    for zeros, expected in cases["C31"]["output"].items():
        values = [0.8] * 50 + [0.0] * int(zeros)
        events = [EmissionRow(NOW - timedelta(minutes=len(values) - i), {"A": v}) for i, v in enumerate(values)]
        assert moving_averages(events, NOW, PAY)[Hotkey("A")] == pytest.approx(expected, abs=1e-8)


def test_a_first_value_is_taken_as_it_is() -> None:
    assert moving_averages([EmissionRow(NOW, {"A": 0.9})], NOW, PAY) == {"A": 0.9}


@pytest.mark.parametrize(
    ("name", "validators"), [("no_fetcher", None), ("fetcher_with_W", {"W"}), ("fetcher_never_loaded", set())]
)
def test_who_serves(name: str, validators: set[Hotkey] | None, cases: dict[str, Case]) -> None:
    case = cases["C17"]
    candidates = [
        Candidate(Hotkey(node["hotkey"]), node["ip"], node["port"], node["stake"]) for node in case["input"]["nodes"]
    ]
    found = serving_miners(candidates, Hotkey(case["input"]["own_hotkey"]), validators, PAY)
    assert list(found.hotkeys) == case["output"][name]["kept"]
    stats = case["output"][name]["stats"]
    reasons = list(found.excluded.values())
    assert {reason: reasons.count(reason) for reason in ("own", "no_endpoint", "validator", "stake")} == {
        "own": stats["self_excluded"],
        "no_endpoint": stats["no_endpoint_excluded"],
        "validator": stats["validator_db_excluded"],
        "stake": stats["high_stake_excluded"],
    }


@pytest.mark.parametrize("serving", [10, 6])
def test_the_penalty_and_its_valve(serving: int, cases: dict[str, Case]) -> None:
    case = cases["C18"]
    expected = case["output"][f"serving_{serving}"]
    found = penalise(case["input"]["ema"], case["input"]["sybil_scores"], serving, PAY)
    assert found.averages == pytest.approx(expected["scores"])
    assert len(found.penalised) == expected["penalised"]
    assert bool(found.spared) == expected["valve"]


def test_of_equal_scores_the_first_is_penalised() -> None:
    scores = {Hotkey("A"): 0.3, Hotkey("B"): 0.3}
    found = penalise(dict.fromkeys(scores, 1.0), scores, 3, PAY)
    assert found.averages == {"A": 0.7, "B": 1.0}
    assert found.spared == ("B",)


def test_a_sybil_score_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="the sybil score of A is nan"):
        penalise({Hotkey("A"): 1.0}, {Hotkey("A"): math.nan}, 3, PAY)


def test_shares(cases: dict[str, Case]) -> None:
    case = cases["C19"]
    averages = cases["C16"]["output"]["normal_3h"]["scores"]
    found = shares(case["input"]["serving"], averages, Mode.NORMAL, PAY)
    assert found == pytest.approx(case["output"], abs=1e-8)
    assert found is not None
    assert list(found) == case["input"]["serving"]


@pytest.mark.parametrize(
    ("mode", "expected"), [(Mode.NORMAL, None), (Mode.DEGRADED, None), (Mode.EMERGENCY, {"A": 0.5, "B": 0.5})]
)
def test_when_nobody_has_anything(mode: Mode, expected: Mapping[Hotkey, float] | None) -> None:
    assert shares([Hotkey("A"), Hotkey("B")], {}, mode, PAY) == expected


def test_without_miners_no_weights_are_set() -> None:
    assert shares([], {}, Mode.EMERGENCY, PAY) is None
    assert shares([Hotkey("A")], {Hotkey("A"): 1.0}, Mode.NORMAL, NetworkPay(min_serving=2)) is None


@pytest.mark.parametrize(
    ("blocks", "cutoff", "mode"),
    [
        (0, 5000, Mode.NORMAL),
        (3999, 5000, Mode.NORMAL),
        (4000, 5000, Mode.DEGRADED),
        (4499, 5000, Mode.DEGRADED),
        (4500, 5000, Mode.EMERGENCY),
        (1110, 1388, Mode.NORMAL),
        (1111, 1388, Mode.DEGRADED),
        (1250, 1388, Mode.EMERGENCY),
        (10_000, 2**64 - 1, Mode.NORMAL),
    ],
)
def test_modes_are_parts_of_the_chains_own_cutoff(blocks: int, cutoff: int, mode: Mode) -> None:
    assert mode_for(blocks, cutoff, PAY) is mode
