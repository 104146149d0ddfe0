"""What happened in a round, in words: composed from the stored figures, or phrased by a language model.

No text of a miner is ever quoted or shown to the model: both ways see figures and uids only, so an answer can neither
speak through the narrative nor instruct the model that writes it. The id of a challenge, which a stranger chose, is not
told either: the page that shows the narrative shows it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from loosh_pipeline.domain import Challenge, Hotkey, Outcome, Response
from loosh_pipeline.errors import LooshError
from loosh_pipeline.scoring.admission import OFF_TOPIC
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.result import RoundMeasure, RoundScores, Score

NAMED = 6
"""Miners named in one list; the others are counted."""
MAX_LLM_CHARS = 4000
LLM_TOKENS = 400
INSTRUCTIONS = (
    "You report on one round of a network in which miners answer the same challenge and are paid for agreeing with "
    "independent, relevant peers. Write at most 150 words of plain Markdown for the validator's operator: who "
    "answered, how far the answers agree, who was paid best and by which figures, who copied whom, who was not paid "
    "and why, and what the network's own measure found. Use only the figures in the JSON of the user; invent nothing. "
    "Under the profile robust a payout of 1 is an average independent answer. consensus is the network's measure, mean "
    "plus spread of cosine similarities; removed are the answers that it left out, which changes no robust payout."
)


# Markdown that loads or leads somewhere; the words that stand for it are kept.
_INLINE_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])")
_LINK_TARGET = re.compile(r"^[ >]*\[[^\[\]\n]*\]:[ \t]*\S+(?:[ \t]+[\"'(].*)?[ \t]*$", re.MULTILINE)
_HTML_TAG = re.compile(r"<[/!?a-zA-Z][^<>]*>")
_BARE_URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|www\.|mailto:)[^\s)\]]*", re.IGNORECASE)
# Without these characters nothing that is left, nested or cut off, can be an image, a link or HTML.
_DISARMED = str.maketrans({"[": "(", "]": ")", "<": "&lt;"})


@dataclass(frozen=True, slots=True)
class Narrative:
    """A text and where it comes from: `composed`, or `llm:` and the model's name."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """How to reach an OpenAI-compatible chat server. `base_url` may be the full address of its completions."""

    base_url: str
    model: str
    api_key: str | None = None
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class MinerFacts:
    """The figures of one miner asked, rounded as they are told; None where not measured."""

    uid: int
    payout: float
    reason: str
    relevance: float | None
    meaning: float | None
    coverage: float | None
    wording: float | None
    share: float


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """The figures a narrative is made of. `copies`: groups of uids whose answers are copies of one another.

    `consensus`: what the network's method found; `removed`: uids that it left out, and its reason.
    """

    asked: int
    answered: int
    paid: int
    consensus: RoundMeasure | None
    profile: str
    removed: tuple[tuple[int, str], ...]
    relevance_gate: float | None
    best: MinerFacts | None
    copies: tuple[tuple[int, ...], ...]
    unpaid: tuple[MinerFacts, ...]


def narrate(
    challenge: Challenge, scores: RoundScores, responses: Sequence[Response], llm: LlmSettings | None = None
) -> Narrative:
    """The narrative of a round, phrased by a model if one is set. Raises LooshError when that model fails."""
    if llm is None:
        return Narrative(compose_narrative(challenge, scores, responses), "composed")
    return Narrative(llm_narrative(llm, facts_of(challenge, scores, responses)), f"llm:{llm.model}")


def facts_of(challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> RoundFacts:
    """The figures of a round. Raises LooshError when a scored hotkey is not among the responses."""
    uids = {response.hotkey: int(response.uid) for response in responses}
    if missing := [score.hotkey for score in scores.scores if score.hotkey not in uids]:
        raise LooshError(
            f"challenge {challenge.id}: scores of {', '.join(missing)} have no response; score the round again"
        )
    paid = [score for score in scores.scores if score.payout > 0]
    best = max(paid, key=lambda score: (score.payout, score.hotkey), default=None)
    return RoundFacts(
        asked=len(scores.scores),
        answered=sum(score.outcome is Outcome.ANSWERED for score in scores.scores),
        paid=len(paid),
        consensus=scores.measure and _rounded_measure(scores.measure),
        profile=scores.profile,
        removed=tuple(
            sorted(
                (uids[score.hotkey], score.measure.removed_by)
                for score in scores.scores
                if score.measure and score.measure.removed_by
            )
        ),
        relevance_gate=scores.scores[0].relevance_gate if scores.scores else None,
        best=None if best is None else _facts(best, uids[best.hotkey]),
        copies=tuple(tuple(sorted(uids[h] for h in group)) for group in copy_groups(scores.scores)),
        unpaid=tuple(sorted((_facts(s, uids[s.hotkey]) for s in scores.scores if not s.payout > 0), key=_uid)),
    )


def compose_narrative(challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> str:
    """At most about 200 words of Markdown, from the figures alone."""
    facts = facts_of(challenge, scores, responses)
    paragraphs = (_turnout(facts), _agreement(facts), _best(facts), _copies(facts), _unpaid(facts))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def llm_narrative(settings: LlmSettings, facts: RoundFacts) -> str:
    """The narrative a chat model makes of the figures. Raises LooshError when it fails or says nothing."""
    # here, for it takes a third of a second that runs without a model need not spend
    from openai import DefaultHttpxClient, OpenAI, OpenAIError

    base_url = settings.base_url.rstrip("/").removesuffix("/chat/completions")
    try:
        with OpenAI(
            base_url=base_url,
            # the client insists on a key; a server without keys ignores it
            api_key=settings.api_key or "none",
            timeout=settings.timeout_s,
            max_retries=1,
            http_client=DefaultHttpxClient(trust_env=False),
        ) as client:
            reply = client.chat.completions.create(
                model=settings.model,
                messages=[
                    {"role": "system", "content": INSTRUCTIONS},
                    {"role": "user", "content": json.dumps(asdict(facts))},
                ],
                max_tokens=LLM_TOKENS,
                temperature=0.2,
            )
    except OpenAIError as error:
        raise LooshError(
            f"model {settings.model!r} at {base_url} wrote no narrative: {error}; check LLM_API_URL, LLM_API_KEY and "
            "LLM_MODEL"
        ) from error
    said = (reply.choices[0].message.content or "") if reply.choices else ""
    text = without_links(said[:MAX_LLM_CHARS]).strip()
    if not text:
        raise LooshError(f"model {settings.model!r} at {base_url} answered an empty narrative; try another model")
    return text


def without_links(markdown: str) -> str:
    """`markdown` without images, links, addresses and HTML, with their words left in place."""
    text, links = markdown, 1
    while links:  # an image may stand in a link
        text, links = _INLINE_LINK.subn(r"\1", text)
    for pattern in (_LINK_TARGET, _HTML_TAG, _BARE_URL):
        text = pattern.sub("", text)
    return text.translate(_DISARMED)


def copy_groups(scores: Sequence[Score]) -> list[frozenset[Hotkey]]:
    """Sets of hotkeys linked by copying, directly or through others; in order of their first hotkey."""
    groups: list[set[Hotkey]] = []
    for score in scores:
        if score.copies:
            linked = {score.hotkey, *score.copies}
            touching = [group for group in groups if group & linked]
            groups = [group for group in groups if not group & linked] + [linked.union(*touching)]
    return sorted(map(frozenset, groups), key=min)


def _uid(miner: MinerFacts) -> int:
    return miner.uid


def _facts(score: Score, uid: int) -> MinerFacts:
    reason = score.reason if not score.scored else "" if score.payout > 0 else "no_agreement"
    return MinerFacts(
        uid=uid,
        payout=round(score.payout, 3),
        reason=reason,
        relevance=_rounded(score.relevance),
        meaning=_rounded(score.meaning),
        coverage=_rounded(score.coverage),
        wording=_rounded(score.wording),
        share=round(score.share, 3),
    )


def _rounded_measure(measure: RoundMeasure) -> RoundMeasure:
    return replace(
        measure,
        consensus_score=round(measure.consensus_score, 3),
        consensus_mean=round(measure.consensus_mean, 3),
        consensus_spread=round(measure.consensus_spread, 3),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _turnout(facts: RoundFacts) -> str:
    return f"{facts.asked} miners asked, {facts.answered} answered, {facts.paid} paid."


def _agreement(facts: RoundFacts) -> str:
    found = facts.consensus
    if found is None or not facts.answered:
        return "There is no consensus to measure."
    reached = "reached" if found.consensus_reached else "not reached"
    said = (
        f"By the network's measure consensus is {reached}: **{found.consensus_score:.2f}** = mean cosine "
        f"{found.consensus_mean:.2f} + spread {found.consensus_spread:.2f}."
    )
    if not facts.removed:
        return said
    named = _listed([f"uid {uid} ({why.replace('_', ' ')})" for uid, why in facts.removed])
    return f"{said} It leaves out {named}."


def _best(facts: RoundFacts) -> str:
    best = facts.best
    if best is None:
        return "Nobody was paid."
    if facts.profile == NetworkProfile.name:
        return f"Best paid: **uid {best.uid}** with an emission of {best.payout:.2f}."
    if best.meaning is None or best.coverage is None or best.wording is None:
        return f"Best paid: **uid {best.uid}** with {best.payout:.2f}, without an independent peer to compare with."
    return (
        f"Best paid: **uid {best.uid}** with {best.payout:.2f} (1 is average). Against its independent peers it "
        f"reached {best.meaning:.2f} in meaning, {best.coverage:.2f} in coverage and {best.wording:.2f} in wording, at "
        f"a relevance of {best.relevance or 0:.2f}."
    )


def _copies(facts: RoundFacts) -> str:
    if not facts.copies:
        return ""
    groups = "; ".join(_listed([str(uid) for uid in group]) for group in facts.copies[:NAMED])
    return f"Near-copies, with one vote a group: uids {groups}."


def _unpaid(facts: RoundFacts) -> str:
    if not facts.unpaid:
        return "Everyone asked was paid."
    named = _listed([f"uid {miner.uid} ({_why(miner, facts)})" for miner in facts.unpaid])
    counts = Counter(miner.reason for miner in facts.unpaid)
    total = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.items()))
    return f"Not paid: {named}." + (f" In all: {total}." if len(facts.unpaid) > NAMED else "")


def _why(miner: MinerFacts, facts: RoundFacts) -> str:
    words = miner.reason.replace("_", " ")
    if miner.reason == OFF_TOPIC and miner.relevance is not None and facts.relevance_gate is not None:
        return f"{words}: relevance {miner.relevance:.2f}, the gate is {facts.relevance_gate:.2f}"
    return words


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
