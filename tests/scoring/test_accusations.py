from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.accusations import (
    MAX_PAIRS,
    AccusationRule,
    accuse,
    accused_groups,
    is_accused,
    network_report,
)
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.pairs import Pair, PairHistory, pair_histories
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse

PROFILE = RobustProfile()
RULE = AccusationRule()
VALIDATOR = Hotkey("validator")
ALIKE = PairHistory(10, 9.0, 0.95, 0.9, 0.85, 0.7, 1.0, same_address=False, same_coldkey=False)


def pair(first: str, second: str) -> Pair:
    return Hotkey(first), Hotkey(second)


def histories(**by_names: PairHistory) -> dict[Pair, PairHistory]:
    """Given as ab=history of a and b."""
    return {pair(*names): history for names, history in by_names.items()}


def text_of(rng: np.random.Generator, words: int) -> str:
    return " ".join(f"word{k}" for k in rng.integers(0, 150, words))


def scored_round(number: int, texts: dict[str, str], places: dict[str, tuple[str, str]] | None = None) -> RoundScores:
    vector = np.array([[0.6, 0.8, 0.0]])
    responses = []
    for name, text in texts.items():
        ip, coldkey = (places or {}).get(name, ("", ""))
        responses.append(
            RoundResponse(Hotkey(name), Outcome.ANSWERED, text, 1000.0, vector, vector, ip=ip, coldkey=coldkey)
        )
    round_ = Round(ChallengeId(f"c-{number}"), np.eye(3)[0], tuple(responses))
    return score_round(round_, ScoringContext.empty(3), PROFILE)


def window(
    rounds: int, words: int = 80, copied: bool = True, **fields: dict[str, tuple[str, str]]
) -> list[RoundScores]:
    """`a` and `b` on their own, `c` of the words of `a` when copied."""
    found = []
    for number in range(rounds):
        rng = np.random.default_rng(number)
        texts = {name: text_of(rng, words) for name in "abc"}
        if copied:
            texts["c"] = texts["a"]
        found.append(scored_round(number, texts, **fields))
    return found


def histories_of(rounds: list[RoundScores]) -> dict[Pair, PairHistory]:
    return pair_histories((each for round_ in rounds for each in round_.pairs), PROFILE)


def test_a_copier_is_accused_from_the_round_that_makes_the_evidence_enough() -> None:
    assert accuse(histories_of(window(4))) == ()
    (found,) = accuse(histories_of(window(5)))
    assert found.pair == pair("a", "c")
    assert (found.rounds, found.evidence, found.wording) == (5, pytest.approx(5.0), pytest.approx(1.0))
    assert found.mean_wording == pytest.approx((5 * 1.0 + 2 * 0.40) / 7)


def test_honest_identities_are_not_accused_for_their_address_and_coldkey() -> None:
    rounds = window(30, copied=False, places={name: ("1.2.3.4", "cold") for name in "abc"})
    found = histories_of(rounds)
    assert all(each.same_address and each.same_coldkey for each in found.values())
    assert accuse(found) == ()


def test_answers_of_a_few_words_accuse_nobody_however_many_there_are() -> None:
    found = histories_of(window(40, words=20))
    assert found[pair("a", "c")].evidence == pytest.approx(40 * 20 / 50)
    assert found[pair("a", "c")].mean_wording > RULE.wording
    assert accuse(found) == ()
    assert [each.pair for each in accuse(found, replace(RULE, min_evidence_per_round=0.0))] == [pair("a", "c")]


@pytest.mark.parametrize(
    ("rounds", "evidence", "wording", "accused"),
    [
        (5, 5.0, 0.75, True),
        (5, 4.99, 1.0, False),
        (5, 5.0, 0.7499, False),
        (10, 5.0, 0.75, True),
        (11, 5.0, 1.0, False),
    ],
)
def test_each_threshold_is_the_least_that_accuses(rounds: int, evidence: float, wording: float, accused: bool) -> None:
    arrays = (np.array([float(value)]) for value in (rounds, evidence, wording))
    assert is_accused(*arrays).tolist() == [accused]


def test_accusations_do_not_depend_on_the_order_of_the_pairs() -> None:
    found = histories(ab=ALIKE, cd=ALIKE, ae=ALIKE)
    backwards = dict(reversed(found.items()))
    assert accuse(found) == accuse(backwards)
    assert [each.pair for each in accuse(found)] == [pair("a", "b"), pair("a", "e"), pair("c", "d")]


def test_groups_are_the_connected_sets_of_accused_identities() -> None:
    found = accuse(histories(de=ALIKE, bc=ALIKE, fg=ALIKE, ab=ALIKE, ce=ALIKE))
    assert accused_groups(found) == (("a", "b", "c", "d", "e"), ("f", "g"))
    assert accused_groups(()) == ()


@pytest.mark.parametrize(
    "wrong",
    [{"wording": float("nan")}, {"min_evidence": -1.0}, {"very_high_wording": 0.5}, {"min_evidence_per_round": 1.5}],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AccusationRule(**wrong)


def test_nobody_accused_is_no_report() -> None:
    assert accuse({}) == ()
    assert network_report(VALIDATOR, (), histories(ab=ALIKE)) is None


def test_the_report_has_the_shape_of_the_network() -> None:
    loose = replace(ALIKE, mean_wording=0.5)
    closer = replace(ALIKE, mean_wording=0.92, same_coldkey=True)
    pairs = histories(ab=ALIKE, ac=loose, bc=closer)
    texts = {pair("b", "c"): ("x" * 600, "broken \ud800 pair")}
    report = network_report(VALIDATOR, accuse(pairs), pairs, texts=texts, challenge_id=ChallengeId("c-7"))
    assert report is not None
    described = report.pop("analysis_report")
    assert json.loads(json.dumps(report)) == {
        "validator_hotkey_ss58": "validator",
        "challenge_id": "c-7",
        "suspicious_pairs_count": 2,
        "suspicious_groups_count": 1,
        "suspicious_pairs": [
            {
                "miner_hotkey_1": "b",
                "miner_hotkey_2": "c",
                "similarity_score": 0.92,
                "response_text_1": "x" * 500,
                "response_text_2": "broken ? pair",
                "detection_method": "lexical",
            },
            {
                "miner_hotkey_1": "a",
                "miner_hotkey_2": "b",
                "similarity_score": 0.85,
                "response_text_1": "",
                "response_text_2": "",
                "detection_method": "lexical",
            },
        ],
        "suspicious_groups": [
            {
                "miner_hotkeys": ["a", "b", "c"],
                "avg_similarity": pytest.approx((0.85 + 0.5 + 0.92) / 3),
                "min_similarity": 0.5,
                "max_similarity": 0.92,
                "min_internal_similarity": 0.5,
                "response_texts": {"a": "", "b": "x" * 500, "c": "broken ? pair"},
            }
        ],
        "high_similarity_threshold": 0.75,
        "very_high_similarity_threshold": 0.90,
    }
    assert "b and c: 0.920 (very high), unshrunk 0.950, over 10 rounds with evidence of 9.0, same coldkey" in described
    assert "a and b: 0.850 (high)" in described
    assert "Group of 3, mean 0.757, least 0.500: a, b, c" in described
    assert "xxx" not in described


def test_a_report_without_a_challenge_or_texts_is_whole() -> None:
    pairs = histories(ab=ALIKE)
    report = network_report(VALIDATOR, accuse(pairs), pairs)
    assert report is not None
    assert report["challenge_id"] is None
    assert report["suspicious_pairs"][0]["response_text_1"] == ""


def test_a_report_of_many_is_bounded_and_counts_them_all() -> None:
    names = [f"n{k:02}" for k in range(30)]
    ring = {pair(a, b): ALIKE for i, a in enumerate(names) for b in names[i + 1 :]}
    others = {pair(f"x{k}", f"y{k}"): ALIKE for k in range(9)}
    pairs = ring | others
    report = network_report(VALIDATOR, accuse(pairs), pairs)
    assert report is not None
    assert (report["suspicious_pairs_count"], len(report["suspicious_pairs"])) == (30 * 29 // 2 + 9, MAX_PAIRS)
    assert report["suspicious_groups_count"] == len(report["suspicious_groups"]) == 10
    lines = report["analysis_report"].split("\n")
    assert sum(" and " in line and "evidence of 9.0" in line for line in lines) == 10
    assert sum(line.startswith("Group of") for line in lines) == 5
    assert "… and 434 more pairs." in lines
    assert "… and 5 more groups." in lines
