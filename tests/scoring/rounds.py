"""Rounds for tests of the scorer: by hand in three dimensions, or drawn to look like real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.signals import Signals, mirrored
from loosh_pipeline.scoring.vectors import unit_rows

DIM = 24
QUESTION = np.eye(3)[0]
ASKED = np.eye(DIM)[0]
"""The question of drawn rounds."""
PLAIN = RobustProfile(
    relevance_gate=0.30,
    meaning_weight=1.0,
    coverage_weight=1.0,
    wording_weight=1.0,
    baseline_weight=1.0,
    coverage_length_slope=0.0,
    blatant_low=0.90,
    blatant_high=0.97,
    identical_low=0.95,
    identical_high=0.99,
    evidence_full_words=50.0,
    alike_low=0.70,
    alike_high=0.85,
    pair_low=0.20,
    pair_high=0.40,
    pair_prior_alike=0.02,
    pair_prior_rounds=5.0,
    mean_prior_wording=0.40,
    mean_prior_rounds=2.0,
    track_power=2.0,
    track_prior_rounds=2.0,
    track_limit=3.0,
    track_passes=1,
    vote_power=2.0,
    restated_low=0.85,
    restated_high=0.98,
    prior_votes=0.5,
    prior_agreement=0.25,
    power=4.0,
    speed=0.05,
    context_rounds=20,
)
"""Even weights and round numbers: what worked examples are worked with, whatever the defaults are."""
TOPIC = [f"topic{i}" for i in range(60)]
"""What answers to one question have in common, the first words most of all."""


def reply(hotkey: str, text: str, vector: Any, **fields: Any) -> RoundResponse:
    """An answer whose one window and one sentence have `vector`, unless given."""
    row = np.atleast_2d(np.asarray(vector, dtype=float))
    defaults = {"outcome": Outcome.ANSWERED, "elapsed_ms": 1000.0, "chunks": row, "sentences": row}
    return RoundResponse(hotkey=Hotkey(hotkey), text=text, **(defaults | fields))


def failure(hotkey: str, outcome: Outcome, dim: int = 3) -> RoundResponse:
    none = np.zeros((0, dim))
    return RoundResponse(Hotkey(hotkey), outcome, "", None, none, none)


def round_of(*responses: RoundResponse, prompt: Any = QUESTION, challenge_id: str = "c-1", **fields: Any) -> Round:
    return Round(ChallengeId(challenge_id), np.asarray(prompt, dtype=float), responses, **fields)


def joined(round_: Round, *responses: RoundResponse) -> Round:
    """The round as if these had been asked too."""
    return replace(round_, responses=(*round_.responses, *responses))


def clone_of(response: RoundResponse, hotkey: str) -> RoundResponse:
    """The same answer at the same time, by somebody else."""
    return replace(response, hotkey=Hotkey(hotkey))


def numbered(prefix: str, count: int) -> list[str]:
    """Different words, none of them a function word."""
    return [f"{prefix}{i}" for i in range(count)]


def signals(n: int, **fields: Any) -> Signals:
    """Signals of answers a, b, …: of relevance .6, 60 words, alike in meaning by half, in wording not at all.

    A number given for a matrix stands for every pair.
    """
    values: dict[str, Any] = {"words": 60.0, "elapsed_ms": 1000.0, "relevance": 0.6, "baseline": 0.0}
    matrices: dict[str, Any] = {"similarity": 0.5, "meaning": 0.5, "coverage": 0.5, "wording": 0.0}
    for name, value in fields.items():
        (values if name in values else matrices)[name] = value
    return Signals(
        hotkeys=tuple(Hotkey(chr(ord("a") + i)) for i in range(n)),
        **{name: np.broadcast_to(np.asarray(value, dtype=float), n).copy() for name, value in values.items()},
        **{name: _matrix(value, n) for name, value in matrices.items()},
    )


def _matrix(value: Any, n: int) -> Any:
    return mirrored(np.full((n, n), float(value))) if np.isscalar(value) else np.asarray(value, dtype=float)


@dataclass(frozen=True)
class Said:
    """How one answer of a drawn round came about: `words` long, `noise` away from what the others mean."""

    words: int
    noise: float
    likeness: float
    """Part of its words that are those of the first answer, if that is long enough."""


@dataclass(frozen=True, eq=False)
class Drawn(Round):
    """A round that a failing test shows by what it was drawn from; with other fields, those are not shown."""

    recipe: str = ""

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(self.recipe)


def drawn_round(seed: int, said: Sequence[Said], challenge_id: str = "c-1") -> Round:
    """A round of answers hk-0, hk-1, …: unit vectors around question and topic, words of the topic and of their own."""
    rng = np.random.default_rng(seed)
    meant = unit_rows(rng.normal(size=(1, DIM)))[0]
    texts: list[list[str]] = []
    for i, each in enumerate(said):
        kept = texts[0][: round(each.likeness * each.words)] if texts else []
        own = _spoken(rng, i, each.words - len(kept))
        texts.append([*kept, *own])
    of_first = int(rng.integers(2**32))
    drawn = [
        _drawn(of_first, rng, i, each, text, meant) for i, (each, text) in enumerate(zip(said, texts, strict=True))
    ]
    first = {each.text: each for each in reversed(drawn)}  # one text has one meaning, whoever says it
    responses = [replace(r, chunks=first[r.text].chunks, sentences=first[r.text].sentences) for r in drawn]
    recipe = f"drawn_round({seed}, {list(said)}, {challenge_id!r})"
    return Drawn(ChallengeId(challenge_id), ASKED, tuple(responses), recipe=recipe)


def _spoken(rng: np.random.Generator, speaker: int, count: int) -> list[str]:
    common = np.minimum(rng.zipf(1.4, size=count) - 1, len(TOPIC) - 1)
    own = rng.integers(0, 400, size=count)
    return [
        TOPIC[c] if shared else f"own{speaker}x{o}"
        for c, o, shared in zip(common, own, rng.random(count) < 0.4, strict=True)
    ]


def _drawn(
    of_first: int, rng: np.random.Generator, i: int, said: Said, text: Sequence[str], meant: NDArray[np.float64]
) -> RoundResponse:
    like_first = np.random.default_rng(of_first)  # what is worded like the first answer errs like it

    def rows(count: int, around: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
        off = said.likeness * like_first.normal(size=(count, DIM)) + (1 - said.likeness) * rng.normal(size=(count, DIM))
        return unit_rows(around + off * noise)

    return reply(
        f"hk-{i}",
        " ".join(text),
        ASKED,
        chunks=rows(1 + said.words // 90, ASKED + meant, said.noise),
        sentences=rows(1 + said.words // 15, ASKED * 0.5 + meant, said.noise + 0.1),
        elapsed_ms=float(np.round(rng.uniform(500, 5000))),
    )


def realistic(seed: int, size: int, challenge_id: str = "c-1") -> Round:
    """`size` honest answers of 60 to 120 words: alike in meaning, with wording of their own."""
    lengths = np.random.default_rng(seed).integers(60, 120, size=size)
    return drawn_round(seed, [Said(int(n), 0.12, 0.0) for n in lengths], challenge_id)


def examples(count: int) -> settings:
    """So many examples, the same ones in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


LENGTHS = st.sampled_from([1, 2, 7, 30, 60, 110, 240])
NOISES = st.sampled_from([0.05, 0.15, 0.3, 0.6])
LIKENESSES = st.sampled_from([0.0] * 6 + [0.5, 0.9, 0.97, 1.0])


@st.composite
def rounds(draw: st.DrawFn, min_size: int = 1, max_size: int = 9, lengths: Any = LENGTHS) -> Round:
    """Rounds of answers of any length: from near agreement to none, some worded partly or wholly like the first."""
    said = draw(
        st.lists(
            st.builds(Said, words=lengths, noise=NOISES, likeness=LIKENESSES), min_size=min_size, max_size=max_size
        )
    )
    return drawn_round(draw(st.integers(0, 2**32 - 1)), said)


@st.composite
def windows(
    draw: st.DrawFn, min_rounds: int = 2, max_rounds: int = 6, min_size: int = 2, lengths: Any = LENGTHS
) -> list[Round]:
    """Rounds c-00, c-01, … of the same identities, who are as good and as alike in each; hk-0 is in every round."""
    size = draw(st.integers(min_size, 6))
    noises = draw(st.lists(NOISES, min_size=size, max_size=size))
    likenesses = draw(st.lists(LIKENESSES, min_size=size, max_size=size))
    count, seed = draw(st.integers(min_rounds, max_rounds)), draw(st.integers(0, 2**32 - 1))
    found = []
    for k in range(count):
        said = [Said(draw(lengths), noise, alike) for noise, alike in zip(noises, likenesses, strict=True)]
        found.append(drawn_round(seed + k, said, f"c-{k:02}"))
    return found
