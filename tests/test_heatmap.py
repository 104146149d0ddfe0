from __future__ import annotations

import csv
import json
import struct
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.domain import Outcome
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, unpack
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.heatmap import (
    Chart,
    Pay,
    Standing,
    cell_px,
    consensus_text,
    heatmap_chart,
    render_png,
    round_heatmap,
    short_hotkey,
    similarity_of,
    spec_json,
    specification,
)
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.robust import score_round
from tests import builders

TWO_GROUPS = np.array([[1, 0.1, 0.9, 0.2], [0.1, 1, 0.1, 0.8], [0.9, 0.1, 1, 0.2], [0.2, 0.8, 0.2, 1]])


def spec_of(chart: Chart) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(spec_json(specification(chart)))
    return spec


def cells_of(spec: dict[str, Any]) -> list[dict[str, str]]:
    (text,) = (data for data in spec["datasets"].values() if isinstance(data, str))
    return list(csv.DictReader(text.splitlines()))


def bars_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    (bars,) = (data for data in spec["datasets"].values() if isinstance(data, list))
    return bars


def walk(spec: Any) -> list[dict[str, Any]]:
    if isinstance(spec, list):
        return [part for item in spec for part in walk(item)]
    if isinstance(spec, dict):
        return [spec, *(part for item in spec.values() for part in walk(item))]
    return []


def png_size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def ring(size: int) -> np.ndarray:
    angles = np.linspace(0, 1, size)
    return np.cos(angles[:, None] - angles[None, :])


def test_answers_alike_stand_together_on_a_scale_that_never_moves() -> None:
    spec = spec_of(heatmap_chart(["a", "b", "c", "d"], TWO_GROUPS, "Round"))
    order = [cell["col"] for cell in cells_of(spec)[:4]]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}
    assert [cell["row"] for cell in cells_of(spec)[::4]] == order
    colours = [part["color"] for part in walk(spec) if isinstance(part.get("color"), dict) and "scale" in part["color"]]
    assert colours[0]["scale"] == {"scheme": "viridis", "domain": [0, 1], "clamp": True}
    assert spec["title"]["subtitle"] == ["4 answers in 2 clusters"]


def test_cells_hold_the_similarities_to_three_decimals() -> None:
    cells = cells_of(spec_of(heatmap_chart(["a", "b", "c", "d"], TWO_GROUPS + 1e-5 * np.eye(4), "Round")))
    found = {(cell["row"], cell["col"]): float(cell["cosine"]) for cell in cells}
    assert found["a", "c"] == found["c", "a"] == 0.9
    assert found["a", "a"] == 1.0
    assert len(found) == 16


@pytest.mark.parametrize(("size", "texts"), [(15, 1), (16, 0)])
def test_values_are_printed_only_while_there_is_room(size: int, texts: int) -> None:
    spec = spec_of(heatmap_chart([str(i) for i in range(size)], ring(size), "Round"))
    assert sum(part.get("type") == "text" for part in walk(spec)) == texts


@pytest.mark.parametrize(
    ("size", "side"), [(2, 68), (15, 510), (16, 320), (60, 840), (61, 320), (200, 800), (256, 900)]
)
def test_the_side_stays_readable(size: int, side: float) -> None:
    assert cell_px(size) * size == pytest.approx(side)


def test_a_picture_is_a_png_of_the_chart(tmp_path) -> None:
    small = heatmap_chart([str(i) for i in range(5)], ring(5), "Round")
    assert specification(small) == small.to_dict(validate=True), "as Vega-Lite's schema has it"
    width, height = png_size(render_png(specification(small)))
    assert 5 * 34 * 1.5 < height < width < 1000
    large = heatmap_chart([str(i) for i in range(70)], ring(70), "Round")
    assert png_size(render_png(specification(large)))[0] < 700


@pytest.mark.parametrize(
    ("labels", "said"), [([], "no answers to compare"), (["7"], "one answer (7): nothing to compare it with")]
)
def test_with_nothing_to_compare_the_chart_says_so(labels: list[str], said: str) -> None:
    chart = heatmap_chart(labels, np.eye(len(labels)), "Round", subtitle="Not compared: uid 3 (timeout)")
    assert said in spec_json(specification(chart))
    assert png_size(render_png(specification(chart))) > (400, 100)


def test_pay_stands_beside_the_answers_in_their_order() -> None:
    pay = [
        Pay(1.2, Standing.PAID),
        Pay(0.0, Standing.UNPAID, "off topic"),
        Pay(0.5, Standing.SHARED),
        Pay(1, Standing.PAID),
    ]
    spec = spec_of(heatmap_chart(["a", "b", "c", "d"], TWO_GROUPS, "Round", pay=pay))
    bars = bars_of(spec)
    assert [bar["row"] for bar in bars] == [cell["col"] for cell in cells_of(spec)[:4]]
    assert {bar["row"]: (bar["payout"], bar["said"]) for bar in bars} == {
        "a": (1.2, "1.20"),
        "b": (0.0, "off topic"),
        "c": (0.5, "0.50"),
        "d": (1, "1.00"),
    }
    chart = heatmap_chart(["a", "b", "c", "d"], TWO_GROUPS, "Round", pay=pay)
    assert specification(chart) == chart.to_dict(validate=True)
    assert png_size(render_png(specification(chart)))[0] > 500


@pytest.mark.parametrize(
    ("labels", "similarity", "pay", "said"),
    [
        (["a"], np.eye(2), None, r"got \(2, 2\)"),
        (["a", "b"], np.eye(2), [Pay(1.0, Standing.PAID)], "got .* and 1"),
        (["a", "a"], np.eye(2), None, "these repeat"),
        (["a", "b"], np.full((2, 2), np.nan), None, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[str], similarity: np.ndarray, pay: Any, said: str) -> None:
    with pytest.raises(ScoringError, match=said):
        heatmap_chart(labels, similarity, "Round", pay=pay)


def test_a_scored_round_shows_copies_the_unpaid_and_the_uncompared() -> None:
    challenge = builders.challenge()
    text = "The sky is blue because air scatters blue light, " + " ".join(f"w{i}" for i in range(60))
    responses = [
        builders.response("hk-1", uid=1, text=text),
        builders.response("hk-2", uid=2, text=text),
        builders.response("hk-3", uid=3, text="Why? The sky is blue since short waves of light scatter most."),
        builders.response("hk-4", uid=4, text="Trains run on rails."),
        builders.response("hk-5", uid=5, outcome=Outcome.TIMEOUT, text="", elapsed_ms=None),
    ]
    vectors = embed_round(HashingEmbedder(512), challenge.id, challenge.prompt, responses)
    scores = score_round(
        unpack(vectors, challenge.prompt, responses), ScoringContext.empty(512), RobustProfile(relevance_gate=0.2)
    )
    spec = spec_of(round_heatmap(challenge, scores, responses))
    bars = {bar["row"]: bar for bar in bars_of(spec)}
    assert {uid: bar["standing"] for uid, bar in bars.items()} == {
        "1": Standing.SHARED,
        "2": Standing.SHARED,
        "3": Standing.PAID,
        "4": Standing.UNPAID,
    }
    assert bars["1"]["note"] == "50% of one pay"
    assert bars["4"]["note"] == "off topic"
    assert scores.measure is not None
    assert spec["title"]["subtitle"] == [
        f"4 answers in 3 clusters; {consensus_text(scores.measure)}",
        "Not compared, unpaid: uid 5 (timeout)",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "consensus 0.50 = mean 0.40 + spread 0.10, not reached"),
        (
            {"consensus_score": 0.8, "consensus_mean": 0.75, "consensus_spread": 0.05, "consensus_reached": True},
            "consensus 0.80 = mean 0.75 + spread 0.05, reached",
        ),
    ],
)
def test_consensus_is_told_with_its_parts(fields: dict[str, Any], said: str) -> None:
    assert consensus_text(builders.round_measure(**fields)) == said


def test_the_matrix_is_rebuilt_from_stored_pairs_sorted_by_hotkey() -> None:
    scores = (
        builders.score("c"),
        builders.score("a"),
        builders.score("t", 0.0, outcome=Outcome.TIMEOUT),
        builders.score("b", 0.0, scored=False, reason="off_topic"),
    )
    pairs = (
        builders.pair("a", "b", similarity=0.1),
        builders.pair("a", "c", similarity=0.9),
        builders.pair("b", "c", similarity=-0.2),
    )
    hotkeys, matrix = similarity_of(builders.round_scores(scores, pairs=pairs))
    assert hotkeys == ("a", "b", "c")
    assert matrix.tolist() == [[1.0, 0.1, 0.9], [0.1, 1.0, -0.2], [0.9, -0.2, 1.0]]


@pytest.mark.parametrize("answered", [0, 1])
def test_without_pairs_there_is_at_most_one_answer(answered: int) -> None:
    scores = tuple(builders.score(f"hk-{i}") for i in range(answered))
    hotkeys, matrix = similarity_of(builders.round_scores(scores))
    assert (len(hotkeys), matrix.shape) == (answered, (answered, answered))


def test_short_hotkey() -> None:
    assert short_hotkey("5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX") == "5F3s…YjQX"
    assert short_hotkey("hk-1") == "hk-1"
