from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.admission import NO_AGREEMENT, OFF_TOPIC
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.explain import explain
from loosh_pipeline.scoring.explanation import REASONS, Change, Explanation, WhatIf, short
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.network_rows import NOT_MEASURABLE, score_network_round
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import Vectors, unit_rows
from loosh_pipeline.scoring.window import Settlement, settle

PROFILE = RobustProfile()
DIM = 12
QUESTION, TOPIC, ELSEWHERE = np.eye(DIM)[:3]
HONEST = tuple(f"5Honest{i}ofTheRound" for i in range(5))
COPIER, STRAY, LATE = "5CopierOfTheRound", "5StrayOfTheRound", "5LateOfTheRound"
NONE = np.zeros((0, DIM))


def answer(hotkey: str, text: str, vector: Any, elapsed_ms: float | None = 1000.0, **fields: Any) -> RoundResponse:
    row = unit_rows(np.atleast_2d(np.asarray(vector, dtype=float)))
    return RoundResponse(Hotkey(hotkey), Outcome.ANSWERED, text, elapsed_ms, row, row, **fields)


def failed(hotkey: str, outcome: Outcome = Outcome.TIMEOUT) -> RoundResponse:
    return RoundResponse(Hotkey(hotkey), outcome, "", None, NONE, NONE)


def responses(seed: int = 0) -> list[RoundResponse]:
    """Five honest answers, a copy of the first from its address, one to something else, and one that never came."""
    rng = np.random.default_rng(seed)
    found = []
    for i, hotkey in enumerate(HONEST):
        vector = QUESTION + TOPIC + rng.normal(size=DIM) * 0.15
        said = " ".join(f"secret{k}" for k in rng.integers(0, 120, 80))
        found.append(answer(hotkey, said, vector, 1000.0 + 500 * i, ip=f"10.0.0.{i}"))
    first = found[0]
    found.append(replace(first, hotkey=Hotkey(COPIER), elapsed_ms=900.0))
    found.append(answer(STRAY, "secret words on nothing asked", 0.2 * QUESTION + ELSEWHERE, 400.0))
    return [*found, failed(LATE)]


def scored(given: list[RoundResponse], number: int = 0) -> RoundScores:
    return score_round(Round(ChallengeId(f"c-{number}"), QUESTION, tuple(given)), ScoringContext.empty(DIM), PROFILE)


def window(rounds: int = 4) -> tuple[list[RoundScores], Settlement]:
    found = [scored(responses(seed), seed) for seed in range(rounds)]
    return found, settle(found, PROFILE)


def what_if(found: Explanation, change: Change, peer: str | None = None) -> WhatIf:
    (one,) = [each for each in found.what_ifs if each.change is change and peer in (None, each.peer)]
    return one


@pytest.mark.parametrize("hotkey", [*HONEST, COPIER, STRAY, LATE])
def test_an_explanation_holds_what_was_stored(hotkey: str) -> None:
    round_ = scored(responses())
    (row,) = [each for each in round_.scores if each.hotkey == hotkey]
    found = explain(round_, Hotkey(hotkey))
    assert (found.row, found.payout, found.reason) == (row, pytest.approx(row.payout), row.reason)
    assert (found.share, found.score, found.votes) == pytest.approx((row.share, row.score, row.votes))
    assert found.rank == 1 + sum(each.payout > row.payout for each in round_.scores)
    assert found.asked == 8
    assert found.settled is None


@pytest.mark.parametrize("hotkey", [*HONEST, COPIER, STRAY])
def test_within_a_window_it_holds_what_was_settled(hotkey: str) -> None:
    rounds, settled = window()
    (row,) = [each for each in settled.scores if each.hotkey == hotkey and each.challenge_id == "c-2"]
    found = explain(rounds[2], Hotkey(hotkey), settled)
    assert found.settled == row
    assert (found.payout, found.agreement) == (pytest.approx(row.payout), pytest.approx(row.agreement))
    assert (found.share, found.votes, found.vote_weight) == pytest.approx((row.share, row.votes, row.vote_weight))


def test_the_votes_heard_are_those_of_the_others_and_never_of_a_copy() -> None:
    found = explain(scored(responses()), Hotkey(HONEST[0]))
    assert {peer.hotkey for peer in found.peers} == set(HONEST[1:])
    assert sum(peer.weight for peer in found.peers) == pytest.approx(found.votes)
    assert sum(peer.part for peer in found.peers) == pytest.approx(1.0)
    assert [peer.weight for peer in found.peers] == sorted((peer.weight for peer in found.peers), reverse=True)
    views = {view.name: view.value for view in found.views}
    assert views["meaning"] == pytest.approx(sum(peer.part * peer.meaning for peer in found.peers))
    assert views["wording"] == pytest.approx(sum(peer.part * peer.wording for peer in found.peers))


def test_gates_have_their_thresholds_and_margins() -> None:
    relevance, agreement = explain(scored(responses()), Hotkey(STRAY)).gates
    assert (relevance.name, relevance.threshold, relevance.pays) == ("relevance", PROFILE.relevance_gate, True)
    assert relevance.value == pytest.approx(0.2 / np.hypot(0.2, 1))
    assert relevance.margin == pytest.approx(0.2 / np.hypot(0.2, 1) - 0.30)
    assert (agreement.name, agreement.threshold) == ("agreement", 0.0)


def test_a_copy_is_named_with_its_address_and_history_and_what_it_cost() -> None:
    rounds, settled = window()
    found = explain(rounds[0], Hotkey(HONEST[0]), settled)
    (copy,) = found.copies
    assert (copy.hotkey, copy.degree, copy.wording) == (COPIER, 1.0, pytest.approx(1.0))
    assert (copy.same_address, copy.same_coldkey) == (True, False)
    assert copy.history is not None
    assert copy.history.rounds == 4
    assert found.share == pytest.approx(0.5)
    assert what_if(found, Change.NOT_A_COPY, COPIER).payout > 1.8 * found.payout


def test_sharing_with_no_copy_is_paid_what_an_answer_that_shares_with_nobody_is_paid() -> None:
    rounds, settled = window()
    found = explain(rounds[1], Hotkey(HONEST[0]), settled)
    assert found.share == pytest.approx(0.5)
    assert what_if(found, Change.NOT_A_COPY).payout == pytest.approx(found.score / found.typical_score)
    assert what_if(found, Change.NOT_A_COPY).payout == pytest.approx(2 * found.payout)


def test_equal_answers_of_which_some_share_one_pay_are_each_worth_one() -> None:
    given = [replace(responses()[0], hotkey=Hotkey(f"5Only{i}")) for i in range(3)]
    found = explain(scored(given), Hotkey("5Only0"))
    assert found.payout == pytest.approx(1 / 3)
    assert what_if(found, Change.NOT_A_COPY, "5Only1").payout == pytest.approx(1 / 2)
    assert what_if(found, Change.NO_COPIES).payout == pytest.approx(1.0)


def test_among_several_copies_each_is_left_out_and_then_all() -> None:
    given = responses()
    given.append(replace(given[0], hotkey=Hotkey("5SecondCopier")))
    found = explain(scored(given), Hotkey(HONEST[0]))
    assert [copy.hotkey for copy in found.copies] == [COPIER, "5SecondCopier"]
    every, one = what_if(found, Change.NO_COPIES).payout, what_if(found, Change.NOT_A_COPY, COPIER).payout
    assert found.payout < one < every


def test_the_median_time_is_paid_what_an_answer_of_that_time_is_paid() -> None:
    given = responses()
    found = explain(scored(given), Hotkey(HONEST[4]))
    assert found.median_elapsed_ms is not None
    late = [replace(each, elapsed_ms=found.median_elapsed_ms) if each.hotkey == HONEST[4] else each for each in given]
    (paid,) = [each.payout for each in scored(late).scores if each.hotkey == HONEST[4]]
    assert found.speed_factor < 1
    assert what_if(found, Change.MEDIAN_TIME).payout == pytest.approx(paid)
    assert paid > found.payout


def test_the_view_farthest_below_the_others_is_tried_at_their_average() -> None:
    given = responses()
    far = QUESTION + 0.3 * TOPIC + 0.9 * np.eye(DIM)[5]
    given[1] = replace(given[1], chunks=unit_rows(far[np.newaxis]))
    found = explain(scored(given), Hotkey(HONEST[1]))
    farthest = max(found.views, key=lambda view: view.shortfall)
    changed = [each for each in found.what_ifs if each.change in ("meaning", "coverage", "wording")]
    assert [each.change for each in changed] == [farthest.name] == ["meaning"]
    assert changed[0].assumed == farthest.average
    assert changed[0].payout > found.payout
    assert sum(view.weight for view in found.views) == pytest.approx(1.0)


def test_an_answer_to_something_else_is_told_by_how_much_and_what_the_gate_would_have_paid() -> None:
    found = explain(scored(responses()), Hotkey(STRAY))
    assert found.reason == OFF_TOPIC
    assert found.typical_relevance == pytest.approx(0.67, abs=0.1)
    changed = what_if(found, Change.RELEVANT)
    assert (changed.assumed, changed.payout) == (0.30, pytest.approx(0.0, abs=0.1))
    assert "failed the gate of 0.30 by 0.10; the others typically had" in found.text()


def test_a_relevant_answer_would_have_been_paid_behind_the_gate() -> None:
    given = responses()
    vector = 0.25 * QUESTION + TOPIC
    given.append(answer("5BesideTheQuestion", given[1].text[:200] + " of its own", vector))
    found = explain(scored(given), Hotkey("5BesideTheQuestion"))
    assert (found.reason, found.payout) == (OFF_TOPIC, 0.0)
    assert what_if(found, Change.RELEVANT).payout > 0.5


def test_who_agrees_with_nobody_is_told_what_average_views_would_have_paid() -> None:
    given = responses()
    given.append(answer("5AgreesWithNobody", "entirely other terms " * 20, 0.8 * QUESTION - TOPIC))
    found = explain(scored(given), Hotkey("5AgreesWithNobody"))
    assert (found.reason, found.payout) == (NO_AGREEMENT, 0.0)
    assert what_if(found, Change.ALL_VIEWS).payout > 0.3
    assert "agrees with none of the peers" in found.text()


def test_who_gave_no_answer_is_told_what_answers_earned() -> None:
    round_ = scored(responses())
    found = explain(round_, Hotkey(LATE))
    paid = [each.payout for each in round_.scores if each.scored]
    assert what_if(found, Change.ANSWERED).payout == pytest.approx(np.mean(paid))
    assert (found.views, found.peers, found.agreement) == ((), (), None)
    assert "no answer came in time" in found.text()


@pytest.mark.parametrize("given", [[failed(LATE)], [failed(LATE), failed("5Other", Outcome.REFUSED)]])
def test_a_round_without_answers_is_explained(given: list[RoundResponse]) -> None:
    found = explain(scored(given), Hotkey(LATE), settle([scored(given)], PROFILE))
    assert (found.payout, found.what_ifs) == (0.0, ())
    assert "Nothing that can be computed" in found.text()


def test_a_lone_answer_is_explained() -> None:
    found = explain(scored(responses()[:1]), Hotkey(HONEST[0]))
    assert (found.payout, found.peers, found.views) == (pytest.approx(1.0), (), ())
    assert "No independent peer's vote counted" in found.text()


@pytest.mark.parametrize("settle_it", [False, True])
@pytest.mark.parametrize("hotkey", [*HONEST, COPIER, STRAY, LATE])
def test_the_text_is_short_and_names_figures_and_hotkeys_alone(hotkey: str, settle_it: bool) -> None:
    rounds, settled = window()
    text = explain(rounds[0], Hotkey(hotkey), settled if settle_it else None).text()
    assert len(text.split("\n")) <= 25
    assert max(len(line) for line in text.split("\n")) <= 160
    assert "secret" not in text
    assert "nan" not in text.lower()
    assert hotkey in text
    assert all(other not in text for other in (*HONEST, COPIER, STRAY, LATE) if other != hotkey)
    assert ("settled pay" in text) == (settle_it and hotkey != LATE)


def test_the_text_says_what_was_paid_and_what_would_have_changed_it() -> None:
    rounds, settled = window()
    found = explain(rounds[0], Hotkey(HONEST[0]), settled)
    first = f"Challenge c-0: {HONEST[0]} was paid {found.payout:.2f}, rank {found.rank} of 8 asked."
    assert found.text().startswith(first)
    assert "It is taken for one source with 5CopierO… to 100%: their wording is 1.00 alike" in found.text()
    gained = what_if(found, Change.NOT_A_COPY)
    assert f"{gained.payout:.2f} ({gained.payout - found.payout:+.2f})." in found.text()


def test_a_ring_of_copies_still_has_a_short_text() -> None:
    given = responses()
    given += [replace(given[0], hotkey=Hotkey(f"5Ring{i:02}OfCopies")) for i in range(20)]
    found = explain(scored(given), Hotkey(HONEST[0]))
    assert len(found.copies) == 21
    assert len(found.text().split("\n")) <= 25
    assert "for 18 more" in found.text()


def test_an_unknown_hotkey_is_named() -> None:
    with pytest.raises(ValueError, match="5Nobody was not asked in challenge c-0"):
        explain(scored(responses()), Hotkey("5Nobody"))


def test_other_parameters_than_the_round_was_scored_with_are_refused() -> None:
    with pytest.raises(ValueError, match="when judged again; give the profile"):
        explain(scored(responses()), Hotkey(HONEST[0]), profile=replace(PROFILE, power=2.0))
    with pytest.raises(ValueError, match="was scored under profile 'robust', not 'network'"):
        explain(scored(responses()), Hotkey(HONEST[0]), profile=NetworkProfile())


def test_a_settlement_without_the_round_is_refused() -> None:
    rounds, _ = window()
    with pytest.raises(ValueError, match="c-0 has 7 comparable answers and the settlement 0"):
        explain(rounds[0], Hotkey(HONEST[0]), settle(rounds[1:], PROFILE))


def test_every_outcome_has_a_sentence() -> None:
    assert {outcome for outcome in Outcome if outcome is not Outcome.ANSWERED} <= set(REASONS)
    assert NOT_MEASURABLE in REASONS
    assert (short(Hotkey("5" * 48)), short(Hotkey("short"))) == ("55555555…", "short")


PROMPT = "How does light scatter in the air above us?"


def vectors_of(texts: list[str], lines: dict[str, Vectors]) -> dict[str, Vectors]:
    """A vector of every text: that of the answer it is part of, or the question's."""
    return {text: next((v for whole, v in lines.items() if text in whole), QUESTION) for text in texts}


def network_scored(texts: dict[str, str], times_ms: list[float]) -> RoundScores:
    rng = np.random.default_rng(3)
    about = {hotkey: ELSEWHERE if hotkey == STRAY else QUESTION + TOPIC for hotkey in texts}
    lines = {text: unit_rows((about[h] + rng.normal(size=DIM) * 0.2)[np.newaxis])[0] for h, text in texts.items()}
    read = texts_to_embed(PROMPT, list(texts.values()))
    given = [
        replace(answer(hotkey, text, lines[text]), total_ms=time, uid=uid)
        for uid, ((hotkey, text), time) in enumerate(zip(texts.items(), times_ms, strict=True))
    ]
    round_ = Round(ChallengeId("n-1"), QUESTION, (*given, failed(LATE)), PROMPT, vectors_of(read, lines))
    return score_network_round(round_, ScoringContext.empty(DIM), NetworkProfile())


NETWORK_TEXTS = {
    HONEST[0]: "Molecules secretly scatter blue light. Because waves are short, they deflect more. So the sky is blue.",
    HONEST[1]: "The air scatters short waves of light. It follows that blue is seen. Therefore skies look blue to us.",
    HONEST[2]: "Rayleigh found that light scatters. First it meets molecules. Then blue is spread further than red.",
    HONEST[3]: "Sunlight meets molecules of nitrogen. Its blue part is deflected. Hence blue comes from all around.",
}


def test_an_emission_is_taken_apart_into_its_factors() -> None:
    times = [1000.0, 2000.0, 3000.0, 4000.0]
    round_ = network_scored(NETWORK_TEXTS, times)
    assert round_.measure is not None
    for hotkey, time in zip(NETWORK_TEXTS, times, strict=True):
        found = explain(round_, Hotkey(hotkey))
        parts = found.emission
        assert parts is not None
        assert parts.time_share == pytest.approx(1 - time / 10_000)
        assert parts.consensus_score == round_.measure.consensus_score > 0
        product = parts.time_share * parts.consensus_score * parts.consensus_factor * parts.top_factor
        assert found.payout == pytest.approx(product)
        assert what_if(found, Change.AVERAGE_TIME).payout == pytest.approx(product / parts.time_share * 0.75)
        assert f"time share {parts.time_share:.3f}" in found.text()
        assert "secret" not in found.text()
        assert len(found.text().split("\n")) <= 25


def test_a_miner_out_of_consensus_is_told_what_being_in_it_pays() -> None:
    round_ = network_scored(NETWORK_TEXTS | {STRAY: "Nothing at all."}, [1000.0] * 5)
    found = explain(round_, Hotkey(STRAY))
    assert found.row.measure is not None
    assert not found.row.measure.in_consensus
    assert what_if(found, Change.IN_CONSENSUS).payout == pytest.approx(found.payout * 1.2)
    assert "out of consensus because" in found.text()


def test_another_network_profile_than_the_rounds_is_refused() -> None:
    round_ = network_scored(NETWORK_TEXTS, [1000.0, 2000.0, 3000.0, 4000.0])
    with pytest.raises(ValueError, match="give the network profile that the round was scored under"):
        explain(round_, Hotkey(HONEST[0]), profile=NetworkProfile(consensus_bonus=2.0))


def test_the_lone_answer_and_the_missing_one_of_a_network_round_are_explained() -> None:
    round_ = network_scored({HONEST[0]: NETWORK_TEXTS[HONEST[0]]}, [1000.0])
    lone, late = explain(round_, Hotkey(HONEST[0])), explain(round_, Hotkey(LATE))
    assert (lone.payout, lone.emission, lone.what_ifs) == (1.0, None, ())
    assert "it was the only answer" in lone.text()
    assert what_if(late, Change.ANSWERED).payout == 1.0
    assert "no answer came in time" in late.text()
