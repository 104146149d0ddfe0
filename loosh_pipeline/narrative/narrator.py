"""The narrative of a round: a model's text where it may be stored, else the one composed from the figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from loosh_pipeline.domain import Challenge, Response
from loosh_pipeline.errors import LLMAnswerUnusable, LLMError
from loosh_pipeline.llm.breaker import Breaker
from loosh_pipeline.llm.port import Generation, Model
from loosh_pipeline.narrative.alphabet import in_ascii
from loosh_pipeline.narrative.checks import objection
from loosh_pipeline.narrative.composed import composed
from loosh_pipeline.narrative.facts import RoundFacts, facts_of
from loosh_pipeline.narrative.prompt import Prompt, prompt_for
from loosh_pipeline.scoring.result import RoundScores

logger = logging.getLogger(__name__)

COMPOSED = "composed"
CUT_OFF = "length"
"""What servers say of a text that was ended by the limit of tokens."""
LEFT_ALONE = "it failed several times in a row and is left alone for some minutes"
MOST_USELESS = 10
USELESS_PAUSE_S = 3600.0
"""One answer that is of no use may be one miner's doing; so many in a row are the model's, and each is paid for."""
TOO_USELESS = "its texts were of no use many times in a row, and it is left alone for an hour"


@dataclass(frozen=True, slots=True)
class Narrative:
    """A text and where it comes from: `composed`, `llm:` and the model's name, or that a model failed, and why.

    `composed`: the text from the figures alone, where `text` is a model's. `generation`: what a model that answered
    took, whether its text was stored or not.
    """

    text: str
    source: str
    composed: str | None = None
    provider: str | None = None
    generation: Generation | None = None


class RoundNarrator:
    """Tells rounds, by a model if it has one. A model that fails costs nothing but its text."""

    def __init__(
        self, model: Model | None = None, breaker: Breaker | None = None, useless: Breaker | None = None
    ) -> None:
        self._model = model
        self._breaker = breaker or Breaker()
        self._useless = useless or Breaker(MOST_USELESS, USELESS_PAUSE_S)

    def narrate(self, challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> Narrative:
        """What happened in a round. Raises LooshError when a scored hotkey is not among the responses."""
        facts = facts_of(challenge, scores, responses)
        plain = composed(facts)
        if self._model is None:
            return Narrative(plain, COMPOSED)
        if self._breaker.is_open():
            return _without(plain, LEFT_ALONE)
        if self._useless.is_open():
            return _without(plain, TOO_USELESS)
        prompt = prompt_for(challenge, facts, responses)
        try:
            generation = self._model.generate(prompt.messages)
        except LLMError as error:
            self._count(error)
            logger.warning("the narrative of challenge %s is composed, as the model failed: %s", challenge.id, error)
            return _without(plain, error.reason)
        self._breaker.answered()
        return self._told(self._model, generation, facts, prompt, plain)

    def _told(self, model: Model, generation: Generation, facts: RoundFacts, prompt: Prompt, plain: str) -> Narrative:
        """A model's text if it may be stored."""
        provider = model.config.provider
        text = in_ascii(generation.text)
        reason = _refusal(text, generation.finish_reason, facts, prompt)
        if reason is None:
            self._useless.answered()
            return Narrative(text, f"llm:{model.config.model}", plain, provider, generation)
        self._useless.failed()
        logger.warning("the model %s was asked in vain: %s", model.config.model, reason)
        return _without(plain, reason, provider, generation)

    def _count(self, error: LLMError) -> None:
        """An answer that is of no use is one all the same: its server is up."""
        if isinstance(error, LLMAnswerUnusable):
            self._breaker.answered()
            self._useless.failed()
        else:
            self._breaker.failed()


def _refusal(text: str, finish_reason: str, facts: RoundFacts, prompt: Prompt) -> str | None:
    if finish_reason == CUT_OFF:
        return "its text was cut off; raise LLM_MAX_TOKENS"
    found = objection(text, facts, prompt)
    return None if found is None else f"its text was refused, as {found}"


def _without(plain: str, reason: str, provider: str | None = None, generation: Generation | None = None) -> Narrative:
    """The composed text, which says why it is no model's."""
    said = f"{plain}\n\nThis text is composed from the figures, as the model failed: {reason}."
    return Narrative(said, f"{COMPOSED}, as the model failed: {reason}", plain, provider, generation)
