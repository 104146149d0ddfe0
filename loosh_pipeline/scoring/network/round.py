"""One round as the network's scorer sees it: a question, its replies in order of arrival, vectors of all texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.text import MIN_WORDS, prompt_components, sentences
from loosh_pipeline.scoring.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. The time is the whole call's, as the validator measured it."""

    uid: int
    hotkey: Hotkey
    response_time_ms: float
    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """Where a miner serves, and who owns it."""

    ip: str
    coldkey: str


@dataclass(frozen=True, eq=False)
class NetworkRound:
    """A challenge with its replies in order of arrival, which breaks ties.

    `vectors` holds the unit row, (d,), of every text of `texts_to_embed`. Without `nodes` every vote weighs the same.
    """

    prompt: str
    replies: tuple[Reply, ...]
    nodes: Mapping[Hotkey, Node]
    vectors: Mapping[str, Vectors]


def texts_to_embed(prompt: str, texts: Sequence[str], min_words: int = MIN_WORDS) -> list[str]:
    """Every text whose vector a round of these replies needs, each once: prompt, replies, sentences, components.

    `min_words` is the profile's `min_sentence_words`.
    """
    said = (sentence for text in texts for sentence in sentences(text, min_words))
    return list(dict.fromkeys([prompt, *texts, *said, *prompt_components(prompt)]))
