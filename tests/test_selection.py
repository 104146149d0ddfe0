"""Who is asked."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.selection import TooFewMiners, select_miners, serving_miners
from tests.builders import metagraph, neuron

OWN = Hotkey("hotkey-0")
MANY = metagraph(tuple(neuron(uid) for uid in range(40)))


def drawn(challenge_id: str, maximum: int = 7, subnet=MANY) -> list[int]:
    return [n.uid for n in select_miners(subnet, OWN, ChallengeId(challenge_id), minimum=1, maximum=maximum)]


def test_only_those_who_serve_answers_are_asked() -> None:
    subnet = metagraph(
        (
            neuron(0),
            neuron(1),
            neuron(2, validator_permit=True),
            neuron(3, ip=None),
            neuron(4, ip="0.0.0.0"),
            neuron(5, ip="0"),
            neuron(6, port=0),
            neuron(7),
        )
    )
    assert [n.uid for n in serving_miners(subnet, OWN)] == [1, 7]
    assert drawn("c-1", subnet=subnet) == [1, 7]


def test_the_draw_is_the_one_of_this_challenge_and_block_for_ever() -> None:
    assert drawn("c-1") == drawn("c-1") == [2, 8, 10, 12, 14, 32, 37]
    reversed_rows = metagraph(MANY.neurons[::-1])
    assert drawn("c-1", subnet=reversed_rows) == drawn("c-1")
    assert drawn("c-2") != drawn("c-1")
    assert drawn("c-1", subnet=metagraph(MANY.neurons, block_hash="0x00")) != drawn("c-1")


@given(st.text(min_size=1, max_size=20), st.integers(1, 50))
def test_as_many_as_may_be_asked_in_order_without_repeats(challenge_id: str, maximum: int) -> None:
    uids = drawn(challenge_id, maximum)
    assert len(uids) == min(maximum, 39)
    assert uids == sorted(set(uids))
    assert 0 not in uids


def test_the_draw_favours_nobody() -> None:
    counts = Counter(uid for number in range(400) for uid in drawn(f"c-{number}"))
    expected = 400 * 7 / 39
    assert set(counts) == set(range(1, 40))
    assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5


def test_too_few_says_how_many_where_and_what_is_needed() -> None:
    with pytest.raises(TooFewMiners) as caught:
        select_miners(metagraph((neuron(0), neuron(1))), OWN, ChallengeId("c-1"), minimum=3, maximum=7)
    assert str(caught.value) == (
        "1 miners serve on subnet 78 at block 100, MIN_MINERS is 3; the challenge is kept and tried again"
    )
