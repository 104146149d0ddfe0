"""What each kind of devnet miner does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.behaviours import Behaviour, MinerScript, behaviour_named, default_cast, scripts
from loosh_pipeline.errors import DevnetError

PROMPT = "Why is the sky blue?"
MODELS = ("atlas", "beacon", "cedar", "drift", "ember", "flint")
BOOK = AnswerBook.of_rows((prompt, model, f"{model} on {prompt}") for prompt in (PROMPT, "Other?") for model in MODELS)


def script(behaviour: Behaviour, **options: float) -> MinerScript:
    return scripts([behaviour], BOOK, **options)[0]  # type: ignore[arg-type]


def test_cast_of_ten() -> None:
    assert Counter(default_cast(10)) == {
        Behaviour.GOOD: 2,
        Behaviour.SLOW: 1,
        Behaviour.WEAK: 1,
        Behaviour.GARBAGE: 1,
        Behaviour.ECHO: 1,
        Behaviour.COPY_RING: 2,
        Behaviour.HALF_BROKEN: 1,
        Behaviour.DEAD: 1,
    }


@pytest.mark.parametrize("count", [10, 11, 25])
def test_every_kind_is_there_from_ten_on(count: int) -> None:
    cast = default_cast(count)
    assert len(cast) == count
    assert set(cast) == set(Behaviour) - {Behaviour.STEADY}, "that one is for measuring alone"


@pytest.mark.parametrize("count", range(1, 10))
def test_smaller_casts_are_the_first_of_the_larger(count: int) -> None:
    assert default_cast(count) == default_cast(10)[:count]


def test_no_miners_are_no_cast() -> None:
    with pytest.raises(DevnetError, match="at least 1"):
        default_cast(0)


def models_by_kind(cast: Sequence[Behaviour]) -> dict[Behaviour, list[str]]:
    parts = scripts(cast, BOOK)
    return {kind: [part.model for part in parts if part.behaviour is kind] for kind in set(cast)}


def test_honest_miners_have_models_of_their_own() -> None:
    assert models_by_kind(default_cast(10)) == {
        Behaviour.GOOD: ["atlas", "beacon"],
        Behaviour.SLOW: ["cedar"],
        Behaviour.WEAK: ["flint"],
        Behaviour.GARBAGE: [""],
        Behaviour.ECHO: [""],
        Behaviour.COPY_RING: ["drift", "drift"],
        Behaviour.HALF_BROKEN: ["ember"],
        Behaviour.DEAD: [""],
    }


def test_half_broken_miner_shares_the_rings_model_rather_than_an_honest_ones() -> None:
    cast = [*(Behaviour.GOOD,) * 3, Behaviour.SLOW, Behaviour.WEAK, Behaviour.COPY_RING, Behaviour.HALF_BROKEN]
    models = models_by_kind(cast)
    assert models[Behaviour.SLOW] == ["ember"]
    assert models[Behaviour.HALF_BROKEN] == models[Behaviour.COPY_RING] == ["drift"]


def test_book_of_one_model_serves_any_cast() -> None:
    book = AnswerBook.of_rows([(PROMPT, "only", "Scattering.")])
    models = {one.model for one in scripts(default_cast(22), book)}
    assert models == {"only", ""}


def test_texts() -> None:
    assert script(Behaviour.GOOD).reply(PROMPT, 1).text == f"atlas on {PROMPT}"
    assert script(Behaviour.WEAK).reply(PROMPT, 1).text == f"flint on {PROMPT}"
    assert script(Behaviour.ECHO).reply(PROMPT, 1).text == PROMPT
    garbage = script(Behaviour.GARBAGE).reply(PROMPT, 1).text
    assert 40 <= len(garbage.split()) <= 90
    assert garbage != script(Behaviour.GARBAGE).reply("Other?", 1).text
    ring = [one.reply(PROMPT, 1).text for one in scripts([Behaviour.COPY_RING] * 3, BOOK)]
    assert ring == [f"drift on {PROMPT}"] * 3


def test_replies_repeat_for_a_seed_and_times_differ_between_miners() -> None:
    cast = [*(Behaviour.GOOD,) * 3, Behaviour.GARBAGE, *(Behaviour.COPY_RING,) * 2]
    first = [one.reply(PROMPT, 1) for one in scripts(cast, BOOK, seed=5)]
    assert first == [one.reply(PROMPT, 1) for one in scripts(cast, BOOK, seed=5)]
    assert first != [one.reply(PROMPT, 1) for one in scripts(cast, BOOK, seed=6)]
    assert len({reply.delay_s for reply in first}) == len(cast)
    assert all(0.2 <= reply.delay_s <= 1.0 for reply in first)


def test_slow_miner_takes_its_extra_time() -> None:
    assert 4.2 <= script(Behaviour.SLOW).reply(PROMPT, 1).delay_s <= 5.0
    assert 1.7 <= script(Behaviour.SLOW, slow_s=1.5).reply(PROMPT, 1).delay_s <= 2.5


def test_half_broken_miner_fails_every_second_time() -> None:
    half_broken = script(Behaviour.HALF_BROKEN)
    assert [half_broken.reply(PROMPT, nth).corrupt for nth in (1, 2, 3, 4)] == [False, True, False, True]


def test_dead_miner_has_nothing_to_say() -> None:
    dead = script(Behaviour.DEAD)
    assert not dead.serves
    with pytest.raises(DevnetError, match="dead"):
        dead.reply(PROMPT, 1)


def test_steady_miners_need_no_file_and_copy_nobody() -> None:
    cast = scripts([Behaviour.STEADY] * 20, BOOK, delay_range_s=(0.2, 0.2))
    replies = [part.reply("Why do leaves turn red?", 1) for part in cast]
    assert {reply.delay_s for reply in replies} == {0.2}
    assert len({reply.text for reply in replies}) == 20
    assert cast[0].reply("Why do leaves turn red?", 2) == replies[0]
    assert cast[0].reply("Why do leaves fall?", 2).text != replies[0].text


def test_a_behaviour_is_named_as_it_is_written() -> None:
    assert behaviour_named("half_broken") is Behaviour.HALF_BROKEN
    with pytest.raises(DevnetError, match="there is no behaviour 'stedy'; there are good, weak"):
        behaviour_named("stedy")
