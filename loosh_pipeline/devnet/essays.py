"""Texts for miners that are to answer at length and never twice the same: sentences put together at random.

An answer has some 200 words in 11 or 12 sentences, as answers of today's models have, and names what the prompt asks
about. Hardly two sentences of a subnet are the same text, so nothing that remembers texts is faster for it.
"""

from __future__ import annotations

import re
from random import Random

WORDS = 200
_MEAN_SENTENCE_WORDS = 18

_WORD = re.compile(r"[A-Za-z][a-z]{3,}")
_COMMON = "about also does explain from have into most what when where which while with would your"

_OPENINGS = (
    "In most cases",
    "At first sight",
    "According to a survey of {year}",
    "For {number} of every hundred people asked",
    "When the first reports came in around {year}",
    "After about {number} minutes",
    "Under ordinary conditions",
    "If you look at it more closely",
    "Compared with the {thing} next to it",
    "Because the {thing} is {quality}",
    "Even without a {thing} at hand",
    "As teachers in {place} like to say",
    "Over the course of {number} years",
    "During the long summer of {year}",
    "On the other hand",
    "For somebody who has never seen a {thing}",
)
_CLAUSES = (
    "{topic} depends on how much of the {thing} is left once the {quality} part is over",
    "the people who study {topic} find that a {quality} {thing} matters more than its size",
    "{topic} turns out to be less {quality} than most visitors to {place} expect",
    "a small change in the {thing} makes {topic} {number} percent more likely to last",
    "it helps to picture {topic} as a {thing} that is slowly carried towards {place}",
    "whoever works with {topic} has to balance a {quality} {thing} against the cost of waiting",
    "the reason for {topic} lies in the {thing}, which grows {quality} as the day goes on",
    "{topic} and the {thing} act upon each other until neither of them changes any more",
    "researchers in {place} measured {topic} {number} times before they trusted the result",
    "there is no {quality} way around {topic}, although a better {thing} makes it easier",
    "you can observe {topic} at home with nothing but a {thing} and some patience",
    "what we call {topic} is really {number} separate effects that share one {quality} cause",
)
_ENDINGS = (
    "and that is the part which is easily forgotten",
    "although nobody has shown why this should be so",
    "which explains the {quality} figures from {place}",
    "so the {thing} has to be replaced after {number} weeks",
    "as long as the {thing} stays {quality} throughout",
    "and a second {thing} would change very little about it",
    "which was confirmed again in {year} by a much larger group",
    "but only where the ground is {quality} enough",
    "while the rest of it is lost to the {thing}",
    "and the same holds for {place} with few exceptions",
    "unless somebody removes the {quality} layer beforehand",
    "so it pays to write down every step with care",
)
_THINGS = (
    "battery beam bottle bridge candle canal circuit cloud coastline crystal current engine feather field filter "
    "furnace garden glacier harvest kettle ladder lens lever membrane mirror mountain needle orchard pendulum "
    "pipe pump river rocket seed shadow signal spring surface telescope thread turbine valley valve vessel wheel "
    "window"
)
_QUALITIES = (
    "ancient brittle bright careful cheap clear coarse common cool deep dense dry early even familiar fine firm "
    "fragile gentle heavy hidden hollow late light local loose narrow patient plain quiet rapid rare regular "
    "rough sharp simple slow smooth soft solid stable steady strong subtle thin warm wide"
)
_PLACES = (
    "Bergen Bologna Cusco Darwin Galway Ghent Hanoi Izmir Jaipur Kyoto Leiden Lima Lisbon Lund Malaga Nairobi "
    "Odense Oaxaca Perth Porto Quito Riga Salta Split Tartu Trieste Uppsala Utrecht Valdivia Windhoek York Zagreb"
)


def essay(prompt: str, rng: Random, words: int = WORDS) -> str:
    """Sentences about what the prompt asks, of about that many words together; the generator decides which."""
    topics = sorted({word.lower() for word in _WORD.findall(prompt)} - set(_COMMON.split())) or ["it"]
    sentences: list[str] = []
    said = 0
    while said < words - _MEAN_SENTENCE_WORDS / 2:
        sentences.append(_sentence(topics, rng))
        said += len(sentences[-1].split())
    return " ".join(sentences)


def _sentence(topics: list[str], rng: Random) -> str:
    opening = f"{_filled(rng.choice(_OPENINGS), topics, rng)}, " if rng.random() < 0.35 else ""
    ending = f", {_filled(rng.choice(_ENDINGS), topics, rng)}" if rng.random() < 0.1 else ""
    text = f"{opening}{_filled(rng.choice(_CLAUSES), topics, rng)}{ending}."
    return text[0].upper() + text[1:]


def _filled(pattern: str, topics: list[str], rng: Random) -> str:
    return pattern.format(
        topic=" ".join(rng.sample(topics, min(2, len(topics)))),
        thing=rng.choice(_THINGS.split()),
        quality=rng.choice(_QUALITIES.split()),
        place=rng.choice(_PLACES.split()),
        year=rng.randint(1804, 2024),
        number=rng.randint(3, 97),
    )
