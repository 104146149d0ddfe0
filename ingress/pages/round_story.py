"""What became of a challenge, step by step, as its page says it: pure functions over what was read."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingress.pages.passages import cut
from ingress.pages.round_answers import Answers
from ingress.pages.round_facts import RoundFacts
from loosh_pipeline.domain import RESULTS, ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.following import ENDED
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.one_challenge import Delivery
from loosh_pipeline.store.outbox import OutboxState

ASSETS = ("miner_responses", "embeddings", "consensus_scores", "shadow_scores", "submissions", "heatmaps", "narratives")
"""That have a partition for every challenge, in the order in which they are made."""
DETAIL_ROOM = 400
NARRATIVE_ROOM = 6_000
FAILURE_ROOM = 2_000
MARKS = {OutboxState.DELIVERED: "good", OutboxState.PENDING: "warn", OutboxState.PARKED: "bad"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `took_s`: seconds since the one before; `says`: what was done meanwhile."""

    name: str
    says: str
    at: datetime | None
    took_s: float | None


@dataclass(frozen=True, slots=True)
class Telling:
    """Whether somebody outside was told. `mark`: good, warn, bad, or nothing where that is neither."""

    said: str
    mark: str = ""
    detail: str = ""
    at: datetime | None = None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A line to copy, and what it does."""

    line: str
    says: str


@dataclass(frozen=True, slots=True)
class Story:
    """`took_s`: from when it came until the network was told. `forgotten`: Dagster shows it no longer, by its age."""

    steps: tuple[Step, ...]
    took_s: float | None
    ended: bool
    told: Telling
    picture_told: Telling
    copies: str
    commands: tuple[Command, ...]
    assets: tuple[str, ...]
    forgotten: bool
    narrative: str
    failure: str


def story_of(facts: RoundFacts, answers: Answers, settings: Settings, now: datetime | None = None) -> Story:
    """`now`: the time by which Dagster keeps what is young; the clock's, unless given."""
    steps = facts.known.steps
    came = steps.received_at
    age = (now or datetime.now(UTC)) - facts.row.state_changed_at
    return Story(
        steps=_steps(facts),
        took_s=None if steps.submitted_at is None else (steps.submitted_at - came).total_seconds(),
        ended=facts.row.state in ENDED,
        told=_told(facts),
        picture_told=_picture(facts),
        copies=copies_said(facts, answers),
        commands=_commands(facts.row.id, facts.row.state, scored=facts.paying is not None),
        assets=ASSETS,
        forgotten=age > timedelta(days=settings.retain_days),
        narrative=cut(facts.narrative.text, NARRATIVE_ROOM) if facts.narrative else "",
        failure=cut(facts.row.failure or "", FAILURE_ROOM),
    )


def _steps(facts: RoundFacts) -> tuple[Step, ...]:
    steps = facts.known.steps
    given = (
        ("received", "it came, and was on disk before its sender heard so", steps.received_at),
        ("collected", "its miners were asked, until the last had answered or was out of time", steps.collected_at),
        ("scored", "the answers were embedded, compared and paid", steps.scored_at),
        ("submitted", "its result was delivered to the Challenge API", steps.submitted_at),
    )
    found, before = [], None
    for name, says, at in given:
        took: float | None = None if at is None or before is None else (at - before).total_seconds()
        found.append(Step(name, says, at, took))
        before = at or before
    return tuple(found)


def _told(facts: RoundFacts) -> Telling:
    if facts.known.canary:
        return Telling("never: it is a canary, of which nobody outside is told")
    delivery = next((each for each in facts.known.deliveries if each.kind in RESULTS), None)
    if delivery is None:
        ended = facts.row.state is ChallengeState.FAILED
        return Telling("no: it was given up", "bad") if ended else Telling("not yet: there is no result to deliver")
    return _telling(delivery)


def _picture(facts: RoundFacts) -> Telling:
    if facts.known.canary:
        return Telling("never: it is a canary")
    delivery = next((each for each in facts.known.deliveries if each.kind is DeliveryKind.HEATMAP), None)
    return Telling("none was kept for it") if delivery is None else _telling(delivery)


def _telling(delivery: Delivery) -> Telling:
    tries = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
    detail, mark = cut(delivery.detail, DETAIL_ROOM), MARKS[delivery.state]
    if delivery.state is OutboxState.DELIVERED:
        return Telling(f"yes, tried {tries}", mark, detail, at=delivery.delivered_at)
    if delivery.state is OutboxState.PARKED:
        return Telling(f"refused, tried {tries}; `loosh retry` delivers it again", mark, detail)
    if not delivery.attempts:
        return Telling("not yet: it waits for its turn", mark)
    return Telling(f"not yet, tried {tries}", mark, detail, again_at=delivery.next_attempt_at)


def copies_said(facts: RoundFacts, answers: Answers) -> str:
    """In a line, which answers are copies of which."""
    if facts.paying is None:
        return ""
    if answers.copies is None:
        return "Nobody looked for copies: the profile network, which paid, does not."
    compared = sum(each.relevance is not None for each in facts.paying.scores.scores)
    if compared < 2:
        return "Too few answers could be compared to tell copies."
    if not answers.copies:
        return f"No copies found among the {compared} answers that could be compared."
    count = len(answers.copies)
    many = "s" if count > 1 else ""
    return f"{count} group{many} of copies. Answers of one source are paid once: they share one pay."


def _commands(challenge_id: ChallengeId, state: ChallengeState, *, scored: bool) -> tuple[Command, ...]:
    named = ("-- " if challenge_id.startswith("-") else "") + shlex.quote(challenge_id)
    found = [Command(f"loosh challenges show {named}", "the same in a terminal")]
    if scored:
        found.append(Command(f"loosh rescore {named}", "scores the stored answers again by what pays today"))
    if state is ChallengeState.FAILED:
        found.append(Command("loosh retry", "gives everything that was given up its runs again"))
    found.append(Command(f"loosh restore {named}", "has Dagster show it again, where it shows it no longer"))
    return tuple(found)
