"""What holds for every round and every window, however the answers are."""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, currently_in_test_context, given, target
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.admission import admit
from loosh_pipeline.scoring.columns import signals_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.signals import measure
from loosh_pipeline.scoring.vectors import mean_direction, unit_rows
from loosh_pipeline.scoring.window import settle
from tests.scoring.rounds import (
    ASKED,
    DIM,
    Said,
    clone_of,
    drawn_round,
    examples,
    failure,
    joined,
    numbered,
    realistic,
    reply,
    round_of,
    rounds,
    windows,
)
from tests.scoring.test_window import assert_same

PROFILE = RobustProfile()
YOUNG = ScoringContext.empty(DIM)
GROWN = ScoringContext.of(40, {"topic0": 40, "topic1": 30, "own0x1": 3}, unit_rows(np.ones((1, DIM)))[0] * 0.3)
CONTEXTS = st.sampled_from([YOUNG, GROWN])
RANDOM = st.randoms(use_true_random=False)

Payouts = Mapping[tuple[ChallengeId, Hotkey], float]


def scored(round_: Round, context: ScoringContext = YOUNG) -> RoundScores:
    return score_round(round_, context, PROFILE)


def paid(round_: Round, context: ScoringContext = YOUNG) -> Payouts:
    return {(round_.challenge_id, score.hotkey): score.payout for score in scored(round_, context).scores}


def settled(window: Sequence[Round], context: ScoringContext = YOUNG) -> Payouts:
    """The payouts of everybody asked; 0 for who was not compared."""
    asked = {(each.challenge_id, response.hotkey): 0.0 for each in window for response in each.responses}
    settlement = settle([scored(each, context) for each in window], PROFILE)
    return asked | {(score.challenge_id, score.hotkey): score.payout for score in settlement.scores}


def assert_others_unmoved(before: Payouts, after: Payouts, *but: str) -> None:
    others = {key: value for key, value in before.items() if key[1] not in but}
    off = [abs(after[key] / value - 1) for key, value in others.items() if value > 1e-9]
    if currently_in_test_context():
        target(max(off, default=0.0))
    assert {key: after[key] for key in others} == pytest.approx(others, rel=0.01, abs=1e-9)


def nearest(window: Sequence[Round], hotkey: str, context: ScoringContext = YOUNG) -> float:
    """The likeness in wording of the answer that is most like one of this identity in any of the rounds."""
    pairs = [pair for each in window for pair in scored(each, context).pairs]
    return max((pair.wording for pair in pairs if hotkey in (pair.first, pair.second)), default=0.0)


@examples(80)
@given(rounds(), CONTEXTS, RANDOM)
def test_the_order_of_replies_changes_no_bit(round_: Round, context: ScoringContext, rng: random.Random) -> None:
    shuffled = list(round_.responses)
    rng.shuffle(shuffled)
    one, two = scored(round_, context), scored(replace(round_, responses=tuple(shuffled)), context)
    assert [score.hotkey for score in two.scores] == [response.hotkey for response in shuffled]
    assert sorted(map(repr, one.scores)) == sorted(map(repr, two.scores))
    assert repr(replace(one, scores=())) == repr(replace(two, scores=()))
    assert repr(settle([one], PROFILE)) == repr(settle([two], PROFILE))


@examples(25)
@given(windows(), CONTEXTS, RANDOM)
def test_the_order_of_rounds_and_of_their_replies_changes_no_bit_of_a_settlement(
    window: list[Round], context: ScoringContext, rng: random.Random
) -> None:
    shuffled = [replace(each, responses=tuple(rng.sample(each.responses, len(each.responses)))) for each in window]
    rng.shuffle(shuffled)
    one, two = ([scored(each, context) for each in order] for order in (window, shuffled))
    assert repr(settle(one, PROFILE)) == repr(settle(two, PROFILE))


def unanswered(_: Round) -> RoundResponse:
    return failure("zz-nobody", Outcome.TIMEOUT, DIM)


def empty(_: Round) -> RoundResponse:
    return reply("zz-nobody", " … ", ASKED)


def off_topic(_: Round) -> RoundResponse:
    return reply("zz-nobody", "lorem ipsum dolor", np.eye(DIM)[9])


def contrary(round_: Round) -> RoundResponse:
    """As relevant as most, and in all else the opposite of what the others say."""
    said = [mean_direction(each.chunks) for each in round_.responses if len(each.chunks)]
    other = -np.sum(said, axis=0) * (1 - ASKED)
    return reply("zz-nobody", "on the contrary", 0.5 * ASKED + 0.9 * unit_rows(other[np.newaxis])[0])


NOBODIES = st.sampled_from([unanswered, empty, off_topic, contrary])


@examples(90)
@given(rounds(), NOBODIES, CONTEXTS)
def test_an_identity_that_is_paid_nothing_moves_nobody(
    round_: Round, nobody: Callable[[Round], RoundResponse], context: ScoringContext
) -> None:
    before, after = paid(round_, context), paid(joined(round_, nobody(round_)), context)
    assume(after[round_.challenge_id, Hotkey("zz-nobody")] == 0.0)
    assert_others_unmoved(before, after)


@examples(25)
@given(windows(min_rounds=2, max_rounds=6), NOBODIES)
def test_an_identity_that_is_paid_nothing_in_a_window_moves_nobody(
    window: list[Round], nobody: Callable[[Round], RoundResponse]
) -> None:
    before, after = settled(window), settled([joined(each, nobody(each)) for each in window])
    assume(not any(value for (_, hotkey), value in after.items() if hotkey == "zz-nobody"))
    assert_others_unmoved(before, after)


@pytest.mark.parametrize("size", range(2, 9))
def test_the_contrary_of_everybody_agrees_with_nobody(size: int) -> None:
    """So that the property above is not about answers of which none passes the gate."""
    round_ = realistic(size, size)
    reasons = {score.hotkey: score.reason for score in scored(joined(round_, contrary(round_))).scores}
    assert reasons.pop(Hotkey("zz-nobody")) == "no_agreement"
    assert list(reasons.values()).count("") > size / 2
    assert "no_agreement" not in reasons.values()


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("joins", [unanswered, off_topic, contrary, None])
def test_who_is_within_a_hair_of_the_gate_stays_on_its_side_whoever_joins(
    side: int, joins: Callable[[Round], RoundResponse] | None
) -> None:
    rng = np.random.default_rng(3)
    question, meant = unit_rows(rng.normal(size=(2, DIM)))
    meant = unit_rows((meant - (meant @ question) * question)[np.newaxis])[0]
    gate = PROFILE.relevance_gate + side * 1e-12
    edge = reply("edge", "just so", gate * question + math.sqrt(1 - gate**2) * meant)
    others = [
        reply(f"hk-{i}", f"said{i}", 0.6 * question + 0.8 * meant + rng.normal(size=DIM) * 0.05) for i in range(4)
    ]
    for count in range(5):
        round_ = round_of(edge, *others[:count], prompt=question)
        more = joined(round_, joins(round_) if joins else clone_of(edge, "zz-clone"))
        for each in (round_, more):
            assert (paid(each)[each.challenge_id, Hotkey("edge")] > 0) == (side > 0)


VICTIMS = st.integers(0, 8)


@examples(100)
@given(rounds(), VICTIMS, st.sampled_from(["aa-clone", "zz-clone"]), CONTEXTS)
def test_an_exact_clone_of_an_answer_moves_nobody_else(
    round_: Round, which: int, name: str, context: ScoringContext
) -> None:
    victim = round_.responses[which % len(round_.responses)]
    # who is itself almost the same text shares with the clone as the victim does
    assume(nearest([round_], victim.hotkey, context) <= PROFILE.identical_low)
    before, after = paid(round_, context), paid(joined(round_, clone_of(victim, name)), context)
    assert_others_unmoved(before, after, victim.hotkey)


@examples(20)
@given(windows(min_rounds=3, max_rounds=12), VICTIMS)
def test_a_clone_in_every_round_of_a_window_moves_nobody_else(window: list[Round], which: int) -> None:
    victim = Hotkey(f"hk-{which % len(window[0].responses)}")
    assume(nearest(window, victim) <= PROFILE.identical_low)
    assert_others_unmoved(settled(window), settled(cloned(window, victim)), victim)


@examples(15)
@given(windows(min_rounds=10, max_rounds=11, lengths=st.sampled_from([55, 60, 110, 240])), VICTIMS)
def test_ten_rounds_on_a_clone_gains_nothing(window: list[Round], which: int) -> None:
    victim = Hotkey(f"hk-{which % len(window[0].responses)}")
    # where two are one text already, a third takes its part of theirs: nothing tells who was first
    assume(nearest(window, victim) <= PROFILE.identical_low)
    before, after = settled(window), settled(cloned(window, victim))
    alone = math.fsum(value for (_, hotkey), value in before.items() if hotkey == victim)
    together = math.fsum(value for (_, hotkey), value in after.items() if hotkey in (victim, "zz-clone"))
    assert together <= alone * 1.05


def cloned(window: Sequence[Round], victim: Hotkey) -> list[Round]:
    return [joined(each, *(clone_of(r, "zz-clone") for r in each.responses if r.hotkey == victim)) for each in window]


@pytest.mark.parametrize("words", [1, 2, 7, 30, 60])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_where_all_say_the_same_one_more_of_them_takes_its_part_and_no_more(words: int, size: int) -> None:
    text, vector = " ".join(numbered("word", words)), unit_rows(np.ones((1, DIM)) + 4 * ASKED)
    all_the_same = round_of(*(reply(f"hk-{i}", text, vector) for i in range(size)), prompt=ASKED)
    more = joined(all_the_same, reply("zz", text, vector))
    evidence = min(1.0, words / PROFILE.evidence_full_words)
    for round_, n in ((all_the_same, size), (more, size + 1)):
        assert list(paid(round_).values()) == pytest.approx([1 / (1 + (n - 1) * evidence)] * n)


def worded_alike(share: int, words: int = 100) -> str:
    """Of a hundred words, so many are those of the victim: a likeness of `share` percent."""
    kept = round(words * share / 100)
    return " ".join([*numbered("said", kept), *numbered("own", words - kept)])


@pytest.mark.parametrize("share", [85, 90, 91, 93, 95])
@pytest.mark.parametrize("words", [20, 100])
@pytest.mark.parametrize("clones", [1, 7])
def test_a_bystander_worded_partly_like_a_cloned_answer_loses_nothing(share: int, words: int, clones: int) -> None:
    base = realistic(11, 4)
    victim = replace(base.responses[0], text=" ".join(numbered("said", words)))
    bystander = replace(base.responses[1], text=worded_alike(share, words))
    round_ = replace(base, responses=(victim, bystander, *base.responses[2:]))
    assert nearest([round_], victim.hotkey) == pytest.approx(share / 100, abs=0.5 / words)
    copies = [clone_of(victim, f"zz-{i}") for i in range(clones)]
    assert_others_unmoved(paid(round_), paid(joined(round_, *copies)), victim.hotkey)
    window = [replace(round_, challenge_id=ChallengeId(f"c-{k}")) for k in range(5)]
    assert_others_unmoved(settled(window), settled([joined(each, *copies) for each in window]), victim.hotkey)


@pytest.mark.parametrize("share", [96, 97, 98, 99])
def test_who_is_almost_the_cloned_text_loses_no_more_than_a_clone_of_it_would(share: int) -> None:
    base = realistic(12, 4)
    victim = replace(base.responses[0], text=" ".join(numbered("said", 100)))
    near = replace(victim, hotkey=Hotkey("near"), text=worded_alike(share))
    round_ = replace(base, responses=(victim, near, *base.responses[1:]))
    before, after = paid(round_), paid(joined(round_, clone_of(victim, "zz-clone")))
    key = round_.challenge_id, Hotkey("near")
    assert before[key] * 2 / 3 * 0.99 <= after[key] <= before[key] * 1.001
    assert_others_unmoved(before, after, victim.hotkey, "near")


@examples(60)
@given(rounds(), CONTEXTS)
def test_stored_rows_hold_the_signals_and_settle_alone_to_what_was_scored(
    round_: Round, context: ScoringContext
) -> None:
    result = scored(round_, context)
    assert_same(signals_of(result), measure(admit(round_)[0], round_, context, PROFILE))
    settlement = settle([result], PROFILE)
    assume(not any(history.degree for history in settlement.pairs.values()))
    assume(all(score.trust == 1.0 for score in settlement.scores))
    assert {score.hotkey: score.payout for score in settlement.scores} == {
        score.hotkey: score.payout for score in result.scores if score.relevance is not None
    }


@examples(40)
@given(rounds(min_size=2, lengths=st.sampled_from([60, 110])))
def test_one_round_is_never_history_enough_to_move_a_payout(round_: Round) -> None:
    """With the ramp and the prior of the profile, one round of exact copies stays below what makes one source."""
    result = scored(round_)
    settlement = settle([result], PROFILE)
    assert {history.degree for history in settlement.pairs.values()} <= {0.0}
    assert [score.payout for score in settlement.scores] == [score.payout for score in result.scores]


@examples(50)
@given(rounds(min_size=1))
def test_the_average_independent_answer_earns_one(round_: Round) -> None:
    result = scored(round_)
    paying = [score for score in result.scores if score.payout > 0]
    assume(paying)
    full = [score.score / result.typical_score for score in paying]
    assert np.average(full, weights=[1 / score.copy_group_size for score in paying]) == pytest.approx(1.0)


def digest_of_everything() -> str:
    """Of every row of rounds of all kinds, scored and settled."""
    kinds = [Said(1, 0.05, 0.0), Said(60, 0.15, 0.0), Said(110, 0.3, 0.0), Said(60, 0.6, 0.0), Said(110, 0.1, 0.95)]
    window = [drawn_round(seed, kinds, f"c-{seed:02}") for seed in range(6)]
    window = [joined(each, unanswered(each), replace(contrary(each), hotkey=Hotkey("zy"))) for each in window]
    results = [scored(each, context) for each in window for context in (YOUNG, GROWN)]
    settlements = [settle(results[start::2], PROFILE) for start in (0, 1)]
    return hashlib.sha256(repr((results, settlements)).encode()).hexdigest()


def test_another_process_comes_to_the_same_bytes() -> None:
    command = "from tests.scoring import test_properties; print(test_properties.digest_of_everything())"
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=root, env=env, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == digest_of_everything()
