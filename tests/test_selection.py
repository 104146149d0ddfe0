"""Who is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Availability, AvailabilityTable, ChallengeId, Hotkey, NetworkView
from loosh_pipeline.policy.filters import serving_miners
from loosh_pipeline.selection import Candidate, Draw, TooFewMiners, draw_miners, repeat_draw
from loosh_pipeline.store.asking_frames import selected_hotkeys, selections_frame
from tests.builders import NOON, metagraph, neuron

OWN = Hotkey("hotkey-0")
MANY = metagraph(tuple(neuron(uid) for uid in range(40)))


def view(weights: Mapping[int, float] | None = None, validators: Sequence[int] = ()) -> NetworkView:
    return NetworkView(
        taken_at=NOON,
        validators=frozenset(Hotkey(f"hotkey-{uid}") for uid in validators),
        sybil_scores={},
        priority_weights={Hotkey(f"hotkey-{uid}"): weight for uid, weight in (weights or {}).items()},
    )


def looked(said: Mapping[int, bool], **fields: Any) -> AvailabilityTable:
    neurons = (neuron(uid, **fields) for uid in said)
    rows = (Availability(one.hotkey, one.uid, one.ip or "", one.port, said[one.uid], "", 5.0) for one in neurons)
    return AvailabilityTable(NOON + timedelta(minutes=1), tuple(rows))


def draw(challenge_id: str = "c-1", maximum: int = 7, subnet: Any = MANY, minimum: int = 1, **said: Any) -> Draw:
    return draw_miners(subnet, OWN, ChallengeId(challenge_id), at=NOON, minimum=minimum, maximum=maximum, **said)


def drawn(challenge_id: str = "c-1", maximum: int = 7, **how: Any) -> list[int]:
    return [one.uid for one in draw(challenge_id, maximum, **how).selected]


def candidate(of: Draw, uid: int) -> Candidate:
    (found,) = (one for one in of.candidates if one.uid == uid)
    return found


def test_only_those_who_serve_answers_are_asked() -> None:
    subnet = metagraph(
        (
            neuron(0),
            neuron(1),
            neuron(2, validator_permit=True, stake=5000.0),
            neuron(3, ip=None),
            neuron(4, ip="0.0.0.0"),
            neuron(5, ip="0"),
            neuron(6, port=0),
            neuron(7),
            neuron(8),
        )
    )
    assert [n.uid for n in serving_miners(subnet, OWN, None)] == [1, 7, 8]
    assert drawn(subnet=subnet) == [1, 7, 8]
    assert drawn(subnet=subnet, view=view(validators=[2, 8])) == [1, 7]


@pytest.mark.parametrize(
    ("said", "out"),
    [
        (view(validators=[9]), {9}),
        (None, {2}),
        (view(), {2}),
        (replace(view(validators=[9]), taken_at=NOON - timedelta(hours=25)), {2}),
    ],
    ids=["listed", "there never was a list", "the list is empty", "the list is old"],
)
def test_a_permit_alone_keeps_nobody_out_of_the_draw(said: NetworkView | None, out: set[int]) -> None:
    """A good miner gathers stake and gets a permit for it: it must be asked like whoever else may be paid."""
    subnet = metagraph(
        (
            neuron(0),
            neuron(1, validator_permit=True, stake=998.0),
            neuron(2, validator_permit=True, stake=999.0),
            neuron(3, stake=5000.0),
            neuron(9),
        )
    )
    assert set(drawn(subnet=subnet, view=said)) == {1, 2, 3, 9} - out


def test_the_draw_is_the_one_of_this_challenge_and_block_for_ever() -> None:
    assert drawn("c-1") == drawn("c-1") == [2, 8, 10, 12, 14, 32, 37]
    reversed_rows = metagraph(MANY.neurons[::-1])
    assert drawn("c-1", subnet=reversed_rows) == drawn("c-1")
    assert drawn("c-2") != drawn("c-1")
    assert drawn("c-1", subnet=metagraph(MANY.neurons, block_hash="0x00")) != drawn("c-1")


def test_keys_are_those_of_the_documented_formula() -> None:
    found = draw("c-9", view=view({3: 2.5}))
    for uid, weight in ((3, 2.5), (4, 1.0)):
        digest = sha256(f"c-9:{MANY.block_hash}:hotkey-{uid}".encode()).hexdigest()
        bits = bin(int(digest, 16))[2:].zfill(256)[:53]
        assert candidate(found, uid).key == pytest.approx(-math.log(1 - int(bits, 2) / 2**53) / weight, rel=1e-12)


@given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.integers(1, 50))
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


def test_the_draw_is_as_likely_as_it_says() -> None:
    few = metagraph(tuple(neuron(uid) for uid in range(7)))
    weights = view({1: 4.0, 2: 2.0, 3: 0.5, 4: 0.1})
    rounds = 3000
    counts = Counter(uid for number in range(rounds) for uid in drawn(f"c-{number}", 3, subnet=few, view=weights))
    for one in draw("c-1", 3, subnet=few, view=weights).candidates:
        spread = (one.inclusion_probability * (1 - one.inclusion_probability) / rounds) ** 0.5
        assert abs(counts[one.uid] / rounds - one.inclusion_probability) < 4 * spread


def test_chances_are_recorded_with_each_candidate() -> None:
    found = draw(maximum=2, subnet=metagraph(tuple(neuron(uid) for uid in range(4))), view=view({1: 2.0}))
    assert [one.draw_probability for one in found.candidates] == [0.5, 0.25, 0.25]
    assert [one.inclusion_probability for one in found.candidates] == pytest.approx([5 / 6, 7 / 12, 7 / 12])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -1.0, -1e-300])
def test_w_31_a_weight_that_is_none_counts_as_unknown_and_is_named(odd: float) -> None:
    found = candidate(draw(view=view({5: odd})), 5)
    assert (found.priority_weight, found.draw_probability) == (1.0, 1 / 39)
    assert found.remark == f"priority_weight {odd} is no weight and counts as unknown"
    assert drawn(view=view({5: odd})) == drawn()


def test_w_31_weights_of_zero_leave_no_place_empty() -> None:
    """As many as may be asked are, also when most weigh nothing; those who weigh something come first."""
    some = view({uid: 0.0 for uid in range(1, 37)})
    uids = drawn(view=some)
    assert len(uids) == 7
    assert {37, 38, 39} <= set(uids)
    assert [candidate(draw(view=some), uid).draw_probability for uid in (1, 37)] == [0.0, 1 / 3]
    assert 1 not in drawn(maximum=3, view=some)


def test_w_31_weights_of_zero_all_around_are_a_uniform_draw() -> None:
    nobody = view(dict.fromkeys(range(40), 0.0))
    assert drawn(view=nobody) == drawn()
    assert {one.draw_probability for one in draw(view=nobody).candidates} == {1 / 39}


def test_w_31_weights_count_from_the_first_challenge_on() -> None:
    heavy = view({uid: 1e9 for uid in (3, 5, 7, 9, 11, 13, 15)})
    assert drawn("the very first", view=heavy) == [3, 5, 7, 9, 11, 13, 15]


def test_who_said_no_is_kept_out_and_recorded() -> None:
    said = looked({uid: uid > 35 for uid in range(1, 40)})
    found = draw(availability=said)
    assert [one.uid for one in found.selected] == [36, 37, 38, 39]
    assert len(found.candidates) == 39
    away = candidate(found, 1)
    assert (away.available, away.selected, away.inclusion_probability) == (False, False, 0.0)
    assert found.availability_taken_at == said.taken_at


def test_who_was_not_looked_for_where_it_is_now_may_be_asked() -> None:
    subnet = metagraph((neuron(0), neuron(1), neuron(2), neuron(3)))
    assert drawn(subnet=subnet, availability=looked({1: False, 2: False})) == [3]
    assert drawn(subnet=subnet, availability=looked({1: False, 2: False}, port=1)) == [1, 2, 3]


def test_w_6_hotkeys_that_share_an_endpoint_are_marked() -> None:
    decimal = str(int.from_bytes(bytes([127, 0, 0, 1])))
    subnet = metagraph((neuron(0), neuron(1), neuron(2, port=9001, ip=decimal), neuron(3)))
    assert [one.shared_endpoint for one in draw(subnet=subnet).candidates] == [True, True, False]


@pytest.mark.parametrize("said", [{}, {"view": view(validators=[3])}])
def test_too_few_says_how_many_where_and_what_is_needed(said: dict[str, Any]) -> None:
    with pytest.raises(TooFewMiners) as caught:
        draw(subnet=metagraph((neuron(0), neuron(1))), minimum=3, **said)
    assert str(caught.value) == (
        "1 miners serve on subnet 78 at block 100, MIN_MINERS is 3; the challenge is kept and tried again"
    )
    with pytest.raises(TooFewMiners, match="2 of 39 serving miners were available at 12:01:00 UTC on subnet 78"):
        draw(minimum=3, availability=looked({uid: uid > 37 for uid in range(1, 40)}))
    with pytest.raises(TooFewMiners, match="0 miners serve"):
        draw(subnet=metagraph(()))


WEIGHTS = st.dictionaries(
    st.integers(1, 39), st.just(0.0) | st.floats(1e-9, 1e9) | st.floats(allow_nan=True, allow_infinity=True)
)


@given(WEIGHTS, st.dictionaries(st.integers(1, 39), st.booleans()), st.integers(1, 12), st.integers(0, 10**6))
def test_the_draw_can_be_repeated_from_its_table(
    weights: dict[int, float], said: dict[int, bool], maximum: int, number: int
) -> None:
    if sum(said.get(uid, True) for uid in range(1, 40)) == 0:
        return
    found = draw(f"c-{number}", maximum, view=view(weights), availability=looked(said))
    frame = selections_frame(found)
    rows = frame.to_dicts()
    Random(number).shuffle(rows)
    assert repeat_draw(rows) == {one.hotkey for one in found.selected} == set(selected_hotkeys(frame))
    assert frame["view_taken_at"][0] == NOON


def test_nobody_was_drawn_from_no_rows() -> None:
    assert repeat_draw([]) == frozenset()
