"""How devnet miners behave: honest ones of different quality, and the kinds a scorer must see through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.devnet.faults import Fault
from loosh_pipeline.errors import DevnetError

DELAY_RANGE_S = (0.2, 1.0)
SLOW_S = 4.0
"""Extra delay of a slow miner; must stay below the validator's challenge timeout."""

_VOCABULARY = (
    "amber anchor basket bridge candle canyon cinder copper cotton desert dinner dragon engine fabric "
    "falcon feather forest garden ginger glacier hammer harbor helmet island jacket jungle kettle ladder "
    "lantern lemon library magnet marble meadow mirror mitten mountain napkin needle ocean orange orchard "
    "paddle palace pebble pencil pepper pillow planet pocket prairie puzzle rabbit ribbon river rocket "
    "saddle salmon shadow silver spider sponge stable summer sunset table temple thunder ticket timber "
    "tunnel turtle valley velvet violin wagon walnut whistle willow window winter yellow zipper"
)


class Behaviour(StrEnum):
    """What kind of miner one is."""

    GOOD = "good"
    WEAK = "weak"
    GARBAGE = "garbage"
    ECHO = "echo"
    COPY_RING = "copy_ring"
    SLOW = "slow"
    DEAD = "dead"
    HALF_BROKEN = "half_broken"
    STEADY = "steady"
    """To any prompt some 200 words of its own, none of them copied: for measuring. In no cast unless asked for."""


def behaviour_named(name: str) -> Behaviour:
    """Raises DevnetError for a name that is no behaviour's."""
    if name not in set(Behaviour):
        raise DevnetError(f"there is no behaviour {name!r}; there are {', '.join(Behaviour)}")
    return Behaviour(name)


_CAST = (
    *(Behaviour.GOOD,) * 2,
    Behaviour.SLOW,
    Behaviour.WEAK,
    Behaviour.GARBAGE,
    Behaviour.ECHO,
    *(Behaviour.COPY_RING,) * 2,
    Behaviour.HALF_BROKEN,
    Behaviour.DEAD,
)


def default_cast(count: int) -> tuple[Behaviour, ...]:
    """The behaviours of `count` miners.

    Two good ones first, then slow, weak, garbage, echo, a ring of two copies, half broken, dead; beyond ten the
    list begins again. So ten miners show every kind. Raises DevnetError for a count below 1.
    """
    if count < 1:
        raise DevnetError(f"{count} miners make no subnet; ask for at least 1")
    return tuple(itertools.islice(itertools.cycle(_CAST), count))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a miner does with one challenge. A corrupt reply is sent as bytes that no key decrypts."""

    text: str
    delay_s: float
    corrupt: bool = False


@dataclass(frozen=True, slots=True)
class MinerScript:
    """One miner's part: everything it does follows from these fields, the prompt and its number.

    `model` is whose answers it gives (empty: it invents its text). `index` tells miners of one seed apart.
    """

    behaviour: Behaviour
    index: int
    model: str
    book: AnswerBook
    seed: int = 0
    delay_range_s: tuple[float, float] = DELAY_RANGE_S
    slow_s: float = SLOW_S
    fault: Fault | None = None

    @property
    def serves(self) -> bool:
        return self.behaviour is not Behaviour.DEAD

    def reply(self, prompt: str, nth: int) -> Reply:
        """What it does with the `nth` (from 1) distinct challenge it is sent."""
        rng = Random(f"{self.seed}/{self.index}/{prompt}")
        delay_s = rng.uniform(*self.delay_range_s)
        if self.behaviour is Behaviour.SLOW or self.fault is Fault.SLOW:
            delay_s += self.slow_s
        broken = self.behaviour is Behaviour.HALF_BROKEN and nth % 2 == 0
        return Reply(_TEXTS[self.behaviour](self, prompt), delay_s, corrupt=broken)


def scripts(
    cast: Sequence[Behaviour],
    book: AnswerBook,
    *,
    seed: int = 0,
    delay_range_s: tuple[float, float] = DELAY_RANGE_S,
    slow_s: float = SLOW_S,
) -> tuple[MinerScript, ...]:
    """A script for every member of a cast, with models given out so that honest miners differ.

    Good miners share out the better half of the models; the ring copies the middle one; weak miners have the
    poorest; slow and then half-broken ones take the best that is left, half-broken ones the ring's when none
    is. Where the book has too few models, miners repeat each other word for word, as hotkeys of one operator
    do. Garbage, echo and dead need none.
    """
    models = _assign_models(cast, book.models)
    return tuple(
        MinerScript(behaviour, index, models[index], book, seed, delay_range_s, slow_s)
        for index, behaviour in enumerate(cast)
    )


def _assign_models(cast: Sequence[Behaviour], models: Sequence[str]) -> list[str]:
    strong, middle = models[: max(len(models) // 2, 1)], models[len(models) // 2]
    fixed = {Behaviour.COPY_RING: middle, Behaviour.WEAK: models[-1]}
    assigned = [fixed.get(behaviour, "") for behaviour in cast]
    for behaviour, pool, otherwise in (
        (Behaviour.GOOD, strong, strong),
        (Behaviour.SLOW, models, models),
        (Behaviour.HALF_BROKEN, models, [middle]),
    ):
        members = [index for index, one in enumerate(cast) if one is behaviour]
        free = [model for model in pool if model not in assigned] or otherwise
        for index, model in zip(members, itertools.cycle(free), strict=False):
            assigned[index] = model
    return assigned


def _from_book(script: MinerScript, prompt: str) -> str:
    return script.book.answer(script.model, prompt)


def _garbage(script: MinerScript, prompt: str) -> str:
    rng = Random(f"garbage/{script.seed}/{script.index}/{prompt}")
    words = rng.choices(_VOCABULARY.split(), k=rng.randint(40, 90))
    return " ".join(words).capitalize() + "."


def _echo(script: MinerScript, prompt: str) -> str:
    return prompt


def _essay(script: MinerScript, prompt: str) -> str:
    return essay(prompt, Random(f"essay/{script.seed}/{script.index}/{prompt}"))


def _nothing(script: MinerScript, prompt: str) -> str:
    raise DevnetError(f"miner {script.index} is dead and was asked {prompt[:40]!r}; give it no server")


_TEXTS: Mapping[Behaviour, Callable[[MinerScript, str], str]] = {
    Behaviour.GOOD: _from_book,
    Behaviour.WEAK: _from_book,
    Behaviour.GARBAGE: _garbage,
    Behaviour.ECHO: _echo,
    Behaviour.COPY_RING: _from_book,
    Behaviour.SLOW: _from_book,
    Behaviour.DEAD: _nothing,
    Behaviour.HALF_BROKEN: _from_book,
    Behaviour.STEADY: _essay,
}
