"""A window of rounds settled: what history adds to what each round said by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.admission import admit
from loosh_pipeline.scoring.columns import signals_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.signals import Signals, measure
from loosh_pipeline.scoring.window import SettledScore, Settlement, settle
from tests.scoring.rounds import DIM, PLAIN, Said, drawn_round, failure, joined, numbered, realistic, reply, round_of

YOUNG = ScoringContext.empty(3)


def scored(rounds: Sequence[Round], profile: RobustProfile = PLAIN) -> list[RoundScores]:
    return [score_round(each, ScoringContext.empty(len(each.prompt_vector)), profile) for each in rounds]


def settled(rounds: Sequence[Round], profile: RobustProfile = PLAIN) -> Settlement:
    return settle(scored(rounds, profile), profile)


def row(settlement: Settlement, challenge: str, hotkey: str) -> SettledScore:
    (found,) = (s for s in settlement.scores if (s.challenge_id, s.hotkey) == (challenge, hotkey))
    return found


def word(challenge: str) -> str:
    return challenge.replace("-", "x")  # a dash would part it in two


def answer(hotkey: str, challenge: str, vector: tuple[float, float, float] = (0.6, 0.8, 0.0)) -> RoundResponse:
    return reply(hotkey, " ".join(numbered(f"{word(challenge)}{hotkey}", 60)), vector)


def alike(hotkey: str, challenge: str, same: int) -> RoundResponse:
    """60 words, of which `same` are those of everybody alike in that round."""
    said = numbered(word(challenge), same) + numbered(f"{word(challenge)}{hotkey}", 60 - same)
    return reply(hotkey, " ".join(said), (0.6, 0.8, 0.0))


def assert_same(one: Signals, other: Signals) -> None:
    assert one.hotkeys == other.hotkeys
    for name in ("words", "elapsed_ms", "relevance", "baseline", "similarity", "meaning", "coverage", "wording"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_the_rows_of_a_round_hold_its_signals_bit_for_bit() -> None:
    context = ScoringContext.of(30, {"topic1": 9}, np.full(DIM, 0.05))
    unknown_time = reply("t", "who knows when", np.ones(DIM), elapsed_ms=None)
    round_ = joined(realistic(4, 5), unknown_time, failure("f", Outcome.TIMEOUT, DIM))
    found = signals_of(score_round(round_, context, PLAIN))
    assert_same(found, measure(admit(round_)[0], round_, context, PLAIN))


def test_a_round_settled_alone_is_paid_as_it_was_scored() -> None:
    (alone,) = scored([realistic(7, 6)], RobustProfile())
    settlement = settle([alone], RobustProfile())
    for one in alone.scores:
        found = row(settlement, "c-1", one.hotkey)
        assert (found.trust, found.payout, found.score) == (1.0, one.payout, one.score)
        assert (found.share, found.votes, found.vote_weight) == (one.share, one.votes, one.vote_weight)


def test_identities_worded_alike_round_after_round_are_paid_as_one() -> None:
    # 51 of 60 words: a likeness of .85 that no single round calls a copy
    rounds = [
        round_of(*(alike(h, c, 51) for h in "ab"), *(answer(h, c) for h in "cd"), challenge_id=c)
        for c in numbered("c-", 10)
    ]
    by_itself, together = scored(rounds)[0], settled(rounds)
    assert all(score.share == 1.0 for score in by_itself.scores)
    history = together.pairs[Hotkey("a"), Hotkey("b")]
    assert history.mean_wording == pytest.approx((10 * 0.85 + 2 * 0.4) / 12)
    assert history.alike_rate == pytest.approx((10 * 1.0 + 5 * 0.02) / 15)
    assert (history.rounds, history.degree) == (10, 1.0)
    degree = 1.0
    a, c = row(together, "c-0", "a"), row(together, "c-0", "c")
    assert (a.share, c.share) == pytest.approx((1 / (1 + degree), 1.0))
    assert (a.sources, c.sources) == (("b",), ())
    assert a.votes == pytest.approx(2 * 0.36 * c.trust + 0.36 * a.trust / (1 + degree) * (1 - degree))


def test_identities_worded_alike_in_one_round_are_not() -> None:
    rounds = [round_of(*(alike(h, "c-0", 51) for h in "abc"), challenge_id="c-0")]
    assert all(score.share == 1.0 and score.sources == () for score in settled(rounds).scores)
    apart = [round_of(*(answer(h, f"c-{i}") for h in "abc"), challenge_id=f"c-{i}") for i in range(1, 6)]
    assert all(history.degree == 0.0 for history in settled(rounds + apart).pairs.values())
    assert all(score.share == 1.0 for score in settled(rounds + apart).scores)


def test_who_copies_in_half_of_the_rounds_is_one_source_though_the_mean_is_an_honest_one() -> None:
    copied = [round_of(*(alike(h, c, 51) for h in "ab"), answer("c", c), challenge_id=c) for c in numbered("c-", 10)]
    apart = [round_of(*(answer(h, c) for h in "abc"), challenge_id=c) for c in numbered("d-", 10)]
    history = settled(copied + apart).pairs[Hotkey("a"), Hotkey("b")]
    assert history.mean_wording < 0.55
    assert history.degree == 1.0


def test_trust_is_the_mean_score_of_the_other_rounds_beside_the_prior() -> None:
    first = round_of(answer("a", "c-0"), failure("b", Outcome.TIMEOUT), challenge_id="c-0")
    second = round_of(answer("a", "c-1"), answer("b", "c-1"), challenge_id="c-1")
    settlement = settled([first, second])
    assert row(settlement, "c-0", "a").trust == pytest.approx(1.0)
    assert row(settlement, "c-1", "a").trust == pytest.approx(1.0)  # (1 + 2) / (1 + 2): alone, it was the average
    b = row(settlement, "c-1", "b")
    assert b.trust == pytest.approx((2 / 3) ** 2)  # (0 + 2) / (1 + 2): asked, it did not answer
    assert b.vote_weight == pytest.approx(0.36 * b.trust)
    assert row(settlement, "c-1", "a").votes == b.vote_weight


def test_nobody_is_trusted_for_what_it_says_in_the_round_itself() -> None:
    rounds = [realistic(seed, 5, f"c-{seed}") for seed in range(4)]
    other = drawn_round(99, [Said(100, 0.12, 0.0)] * 4 + [Said(100, 0.9, 0.0)], "c-0")
    one, two = settled(rounds), settled([other, *rounds[1:]])
    trusts = [[s.trust for s in each.scores if s.challenge_id == "c-0"] for each in (one, two)]
    assert trusts[0] == pytest.approx(trusts[1], rel=1e-12)


def test_the_vote_of_who_proved_good_weighs_more() -> None:
    said = [Said(100, 0.1, 0.0)] * 4 + [Said(100, 0.5, 0.0)] * 2
    settlement = settled([drawn_round(k, said, f"c-{k:02}") for k in range(10)])
    trust = {
        h: np.mean([s.trust for s in settlement.scores if s.hotkey == h]) for h in {s.hotkey for s in settlement.scores}
    }
    assert min(trust[f"hk-{i}"] for i in range(4)) > 1 > max(trust["hk-4"], trust["hk-5"])


def test_one_splendid_round_counts_for_no_more_than_the_limit() -> None:
    # in c-0, a and b agree and all the others are strangers to everybody
    strangers = [answer(f"s{i}", "c-0", (0.6, 0.0, 0.8 * (-1) ** i)) for i in range(6)]
    rounds = [
        round_of(answer("a", "c-0"), answer("b", "c-0"), *strangers, challenge_id="c-0"),
        round_of(answer("a", "c-1"), answer("b", "c-1"), challenge_id="c-1"),
    ]
    limited = settled(rounds, replace(PLAIN, track_limit=1.25))
    assert row(limited, "c-1", "a").trust == pytest.approx(((1.25 + 2) / 3) ** 2)
    assert row(settled(rounds, replace(PLAIN, track_limit=1e6)), "c-1", "a").trust > row(limited, "c-1", "a").trust


def test_without_passes_or_power_every_vote_counts_alike() -> None:
    rounds = [drawn_round(k, [Said(80, 0.1, 0.0)] * 3 + [Said(80, 0.5, 0.0)], f"c-{k}") for k in range(3)]
    for profile in (replace(PLAIN, track_passes=0), replace(PLAIN, track_power=0.0)):
        assert {score.trust for score in settled(rounds, profile).scores} == {1.0}


def test_a_profile_of_floats_settles_as_one_of_whole_numbers() -> None:
    rounds = [realistic(k, 3, f"c-{k}") for k in range(2)]
    one, two = (RobustProfile.from_mapping({"track_passes": passes}) for passes in (2, 2.0))
    assert settled(rounds, one) == settled(rounds, two)


def test_payouts_are_by_challenge_and_miss_who_was_not_compared() -> None:
    opposed = reply("o", "on the contrary", (0.6, -0.8, 0.0))
    first = round_of(answer("a", "c-0"), answer("b", "c-0"), opposed, challenge_id="c-0")
    second = round_of(answer("a", "c-1"), failure("b", Outcome.TIMEOUT), challenge_id="c-1")
    nobody = round_of(failure("z", Outcome.TIMEOUT), challenge_id="c-2")
    paid = settled([second, nobody, first]).payouts()
    assert {c: set(by_hotkey) for c, by_hotkey in paid.items()} == {"c-0": {"a", "b", "o"}, "c-1": {"a"}}
    assert paid[ChallengeId("c-1")] == pytest.approx({"a": 1.0})
    assert paid[ChallengeId("c-0")][Hotkey("o")] == 0.0 < paid[ChallengeId("c-0")][Hotkey("a")]


def test_no_rounds_settle_to_nothing() -> None:
    assert settle([], PLAIN) == Settlement((), {})


def test_the_rounds_may_come_in_any_order() -> None:
    rounds = scored([realistic(k, 4, f"c-{k}") for k in range(4)])
    assert len({repr(settle(order, PLAIN)) for order in itertools.permutations(rounds)}) == 1


def test_a_round_given_twice_is_refused() -> None:
    (one,) = scored([realistic(1, 2)])
    with pytest.raises(ValueError, match="c-1 is twice in the window"):
        settle([one, one], PLAIN)


def test_a_round_of_another_profile_is_refused() -> None:
    (one,) = scored([realistic(1, 2)])
    with pytest.raises(ValueError, match=r"c-1 were not scored under profile 'robust'"):
        settle([replace(one, profile="network")], PLAIN)


TERSE = (0.1, 0.99, 0.1)
"""A right answer of a word or two: unlike the question."""


def window_with_a_terse_answer(before: int, terse: tuple[float, float, float] = TERSE) -> Settlement:
    """Rounds in which a, b and c answer alike, but the last, in which a is terse; d is asked only then, as terse."""
    usual = [
        numbered_round(k, [answer("a", f"c-{k}"), answer("b", f"c-{k}"), answer("c", f"c-{k}")]) for k in range(before)
    ]
    last = f"c-{before}"
    said = [answer("a", last, terse), answer("b", last), answer("c", last), answer("d", last, terse)]
    return settled([*usual, numbered_round(before, said)], RobustProfile(context_rounds=10**6))


def numbered_round(k: int, responses: Sequence[RoundResponse]) -> Round:
    return replace(round_of(*responses), challenge_id=ChallengeId(f"c-{k}"))


def test_who_has_proved_to_answer_is_paid_for_an_answer_unlike_the_question() -> None:
    proven, unproven = (row(window_with_a_terse_answer(8), "c-8", hotkey) for hotkey in ("a", "d"))
    assert proven.relevance_gate < 0.1 < unproven.relevance_gate == RobustProfile().relevance_gate
    assert proven.payout > 0 == unproven.payout


def test_a_record_of_few_rounds_opens_no_gate() -> None:
    found = row(window_with_a_terse_answer(1), "c-1", "a")
    assert (found.relevance_gate, found.payout) == (RobustProfile().relevance_gate, 0.0)


def test_a_good_record_does_not_pay_for_the_contrary_of_the_question() -> None:
    assert row(window_with_a_terse_answer(8, (-0.1, 0.99, 0.0)), "c-8", "a").payout == 0.0
