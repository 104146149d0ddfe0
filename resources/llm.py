"""The language model that phrases narratives, when one is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import dagster as dg

from loosh_pipeline.domain import Challenge, Response
from loosh_pipeline.narrative import LlmSettings, Narrative, narrate
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import Settings, get_settings


class Narrator(Protocol):
    """Whoever can tell what happened in a round. Raises LooshError when it cannot."""

    def narrate(self, challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> Narrative: ...


class SettingsNarrator:
    """Composes the text from the figures, or has the model of LLM_API_URL phrase them."""

    def __init__(self, settings: Settings) -> None:
        self._llm = llm_settings(settings)

    def narrate(self, challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> Narrative:
        return narrate(challenge, scores, responses, self._llm)


def llm_settings(settings: Settings) -> LlmSettings | None:
    """How to reach the configured model; None when there is none."""
    if settings.llm_api_url is None:
        return None
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
    return LlmSettings(str(settings.llm_api_url), settings.llm_model, key, settings.llm_timeout_s)


@dg.resource(description="The model at LLM_API_URL; without one, texts are composed from the figures.")
def llm_resource(_context: dg.InitResourceContext) -> Narrator:
    return SettingsNarrator(get_settings())
