"""Whoever tells what happened in a round: a language model, where one is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import dagster as dg

from loosh_pipeline.domain import Challenge, Response
from loosh_pipeline.llm.configured import llm_config
from loosh_pipeline.llm.waiting import WaitingLLM
from loosh_pipeline.narrative import Narrative, RoundNarrator
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import Settings, get_settings
from resources.once import Once


class Narrator(Protocol):
    """Whoever can tell what happened in a round. Raises LooshError when it cannot."""

    def narrate(self, challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> Narrative: ...


def narrator_of(settings: Settings) -> RoundNarrator:
    """Composes texts from the figures, or has the configured model phrase them."""
    config = llm_config(settings)
    return RoundNarrator(None if config is None else WaitingLLM(config))


process_narrator = Once(narrator_of)
"""Of this process: connections are kept, and a model that fails again and again is left alone."""


@dg.resource(description="The model that LLM_MODEL names; without one, texts are composed from the figures.")
def llm_resource(_context: dg.InitResourceContext) -> Narrator:
    return process_narrator(get_settings())
