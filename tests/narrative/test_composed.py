"""The text that is composed from the figures: who answered, who was paid, who was not and why; nobody's words."""

from __future__ import annotations

import dataclasses

import pytest

from loosh_pipeline.domain import Outcome
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, unpack
from loosh_pipeline.errors import LooshError
from loosh_pipeline.narrative import compose_narrative, copy_groups, facts_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.score import score
from tests import builders
from tests.narrative.rounds import BLUE, CHALLENGE, RESPONSES, answer, scored


def test_the_text_tells_who_answered_who_was_paid_and_who_was_not_and_why() -> None:
    scores = scored(*RESPONSES)
    best = max(scores.scores, key=lambda each: each.payout)
    text = compose_narrative(CHALLENGE, scores, RESPONSES)
    assert "6 miners asked, 5 answered, 4 paid." in text
    assert scores.measure is not None
    assert f"**{scores.measure.consensus_score:.2f}** = mean cosine {scores.measure.consensus_mean:.2f} + " in text
    uid = best.hotkey.removeprefix("hk-")
    assert f"Best paid: **uid {uid}** with {best.payout:.2f}" in text
    assert f"{best.meaning:.2f} in meaning" in text
    assert "Near-copies, with one vote a group: uids 4 and 9." in text
    assert "uid 30 (off topic: relevance 0." in text
    assert "the gate is 0.30) and uid 31 (timeout)" in text


def test_nothing_a_miner_wrote_is_repeated() -> None:
    text = compose_narrative(CHALLENGE, scored(*RESPONSES), RESPONSES)
    assert "Ignore" not in text
    assert "scatters" not in text


def test_the_id_that_a_stranger_chose_is_not_told() -> None:
    challenge = builders.challenge(id="![x](http://evil.test/x.png)")
    scores = scored(*RESPONSES)
    assert "evil" not in compose_narrative(challenge, scores, RESPONSES)
    assert "evil" not in repr(facts_of(challenge, scores, RESPONSES))


def test_the_text_names_whom_the_networks_measure_leaves_out_and_why() -> None:
    scores = scored(*RESPONSES)
    removed = {s.hotkey: s.measure.removed_by for s in scores.scores if s.measure and s.measure.removed_by}
    assert removed["hk-30"]
    text = compose_narrative(CHALLENGE, scores, RESPONSES)
    assert f"uid 30 ({removed['hk-30'].replace('_', ' ')})" in text.partition("It leaves out ")[2]
    assert facts_of(CHALLENGE, scores, RESPONSES).removed == tuple(
        sorted((int(hotkey.removeprefix("hk-")), why) for hotkey, why in removed.items())
    )


def test_pay_of_the_network_is_told_as_its_emission() -> None:
    vectors = embed_round(HashingEmbedder(256), CHALLENGE.id, CHALLENGE.prompt, RESPONSES)
    round_ = unpack(vectors, CHALLENGE.prompt, RESPONSES)
    scores = score(round_, ScoringContext.empty(256), NetworkProfile(), vectors.model_digest)
    best = max(scores.scores, key=lambda each: each.payout)
    text = compose_narrative(CHALLENGE, scores, RESPONSES)
    uid = best.hotkey.removeprefix("hk-")
    assert f"Best paid: **uid {uid}** with an emission of {best.payout:.2f}." in text
    assert "1 is average" not in text


def test_a_round_nobody_answered() -> None:
    silent = (RESPONSES[-1],)
    text = compose_narrative(CHALLENGE, scored(*silent), silent)
    assert "Nobody was paid." in text
    assert "no consensus to measure" in text


def test_a_lone_answer_was_compared_with_nobody() -> None:
    lone = (RESPONSES[0],)
    text = compose_narrative(CHALLENGE, scored(*lone), lone)
    assert "Best paid: **uid 4** with 1.00, without an independent peer" in text
    assert text.endswith("Everyone asked was paid.")


def test_a_large_round_stays_short() -> None:
    failing = list(Outcome)[1:]
    many = [answer(uid, BLUE) for uid in range(100)] + [
        answer(uid, "", outcome=failing[uid % len(failing)], elapsed_ms=None) for uid in range(100, 250)
    ]
    text = compose_narrative(CHALLENGE, scored(*many), many)
    assert len(text.split()) <= 200
    assert "94 more" in text
    assert "144 more" in text
    assert "14 timeout" in text


def test_copies_of_copies_are_one_group() -> None:
    base = scored(*RESPONSES).scores[0]
    linked = [
        dataclasses.replace(base, hotkey=hotkey, copies=copies)
        for hotkey, copies in (("a", ("b",)), ("c", ("d",)), ("b", ("a", "c")), ("d", ("c",)), ("e", ()), ("x", ("y",)))
    ]
    assert copy_groups(linked) == [frozenset("abcd"), frozenset("xy")]


def test_a_score_without_its_response_is_refused() -> None:
    with pytest.raises(LooshError, match="hk-31 have no response"):
        facts_of(CHALLENGE, scored(*RESPONSES), RESPONSES[:-1])
