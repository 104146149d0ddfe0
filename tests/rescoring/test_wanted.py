"""Which parameters change a round that is scored alone: those that may be tried, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, unpack
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.rescoring.wanted import NOT_OF_A_ROUND, is_tried, wanted_profile
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of
from loosh_pipeline.scoring.round import Round
from loosh_pipeline.scoring.score import score
from tests.builders import response
from tests.scoring.network.conftest import DATA

CHANGES: Sequence[Callable[[float], float]] = (
    lambda value: value * 0.5,
    lambda value: value * 1.01,
    lambda value: value * 2,
    lambda value: 0.0,
    lambda value: 0.999,
    lambda value: value + 1,
    lambda value: value + 10,
    lambda value: 0.1,
)
PARAMETERS = [(name, each.name) for name, kind in PROFILES.items() for each in fields(kind)]


@cache
def reference() -> tuple[tuple[Round, ScoringContext], ...]:
    """The recorded rounds of the network's validator, and what else happens in rounds: copies, one word, one answer."""
    recorded = json.loads((DATA / "reference_rounds.json").read_text(encoding="utf-8"))["cases"]
    told = {case["prompt"]: [miner["response_text"] for miner in case["miners"]] for case in recorded}
    prompt = "How does a vaccine teach the immune system to fight a disease? Name the cells that remember it."
    said = essay(prompt, Random(1))
    told[prompt] = [said, f"{said} Indeed.", essay(prompt, Random(2)), prompt, "Cells.", "No!", *_unlike()]
    steps = "Memory cells fight a disease. The immune system remembers a disease. A vaccine shows cells the disease."
    alike = [f"{steps} {last} the immune system." for last in ("So cells teach", "So cells train", "So cells help")]
    apart = f"{steps} For example, 95% of memory cells fight a disease because 3 signals of the vaccine teach them."
    told["How do memory cells of the immune system fight a disease after a vaccine?"] = [*alike, alike[0], apart]
    told["How do memory cells of the immune system fight a disease?"] = [steps, alike[0]]
    long = essay(prompt, Random(3))
    other = essay(prompt, Random(4))
    told["What is a vaccine, and how does it teach the immune system to fight?"] = [long, *_less(long), other]
    told["Why is the sky blue?"] = ["The sky is blue as air scatters blue light most. It is so at noon. Why not?"]
    return tuple(_rounds(told))


def _less(text: str) -> list[str]:
    """A text with a few words left out, ever more of them."""
    words = text.split()
    return [" ".join(word for place, word in enumerate(words) if place % 60 >= left) for left in (1, 2, 3)]


def _unlike() -> list[str]:
    unsure = "I am 80% confident that memory cells fight a disease again. First they learn, then they remember it."
    rambling = "Bread needs flour. Trains leave at noon every day. Memory cells remember a disease. Rain falls softly."
    return [unsure, unsure.replace("First", "Next"), rambling]


def _rounds(told: Mapping[str, Sequence[str]]) -> Iterator[tuple[Round, ScoringContext]]:
    embedder = HashingEmbedder()
    for number, (prompt, texts) in enumerate(told.items()):
        responses = [_response(ChallengeId(f"c-{number}"), place, text) for place, text in enumerate(texts)]
        vectors = embed_round(embedder, ChallengeId(f"c-{number}"), prompt, responses)
        round_ = unpack(vectors, prompt, responses)
        young = {word: 3 for word in ("the", "a", "of")}
        background = np.full(embedder.dim, 0.01)
        yield round_, ScoringContext.of(15, young, background)
        yield round_, ScoringContext.of(25, young, background)


def _response(challenge: ChallengeId, place: int, text: str) -> Any:
    return response(
        f"5M{place:02}",
        challenge_id=challenge,
        uid=place,
        ip=f"11.0.0.{max(1, place)}",
        coldkey=f"5C{place // 2}",
        outcome=Outcome.ANSWERED,
        text=text,
        elapsed_ms=1000.0 + 700 * place,
    )


def rows(profile: ScoringProfile) -> list[Any]:
    """All that is kept of the rounds but the name of the version; the reason of one that cannot be scored."""
    found: list[Any] = []
    for round_, context in reference():
        try:
            found.append(replace(score(round_, context, profile, ""), scorer_version=""))  # type: ignore[arg-type]
        except (ValueError, KeyError):
            found.append(None)
    return found


@cache
def todays(name: str) -> list[Any]:
    return rows(profile_of(name))


def other_values(name: str, parameter: str) -> Iterator[ScoringProfile]:
    """The profile with other values of a parameter, as many as it allows."""
    default = getattr(profile_of(name), parameter)
    kept: type = type(default)
    for value in sorted({kept(change(default)) for change in CHANGES} - {default}):
        try:
            yield profile_of(name, {parameter: value})
        except ValueError:
            continue


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_what_may_be_tried_changes_a_round_and_what_may_not_does_not(name: str, parameter: str) -> None:
    profiles = list(other_values(name, parameter))
    assert profiles
    changed = any(rows(each) != todays(name) for each in profiles)
    assert changed == (parameter not in NOT_OF_A_ROUND[name])


def test_what_acts_on_windows_is_refused_by_name() -> None:
    for name, parameters in NOT_OF_A_ROUND.items():
        for parameter in parameters:
            with pytest.raises(ConfigError, match=f"{parameter} of profile '{name}' acts on a window of rounds"):
                wanted_profile(name, {parameter: 1})


def test_tried_is_whatever_does_not_run_here() -> None:
    assert not is_tried(profile_of("robust"), ("robust",))
    assert is_tried(profile_of("robust", {"power": 5.0}), ("robust",))
    assert is_tried(profile_of("network"), ("robust",))
    assert not is_tried(profile_of("network"), ("robust", "network"))
