"""Scored challenges in the stores of an ingress, made without Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from loosh_pipeline.domain import ChallengeId, Coldkey, Hotkey, Outcome, Response, Uid, Usage
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, unpack
from loosh_pipeline.narrative import Narrative, compose_narrative
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.scoring.score import score
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import responses_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.narrative_frames import narrative_frame
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.score_tables import IN_USE, ScoreTables, Shelf
from loosh_pipeline.store.tables import TableKey, Tables

PROMPT = "Why is the sky blue during the day?"
COPIED = (
    "Sunlight holds all colours at once. On its way down through the air, small molecules scatter short waves of blue "
    "light far more strongly than long waves of red light. So wherever you look up, away from the sun, it is the "
    "scattered blue light that reaches your eyes during the day, and the sky appears blue to you and to everybody else."
)
ANSWERS: Mapping[str, str | Outcome] = {
    "hotkey-1": "The sky is blue during the day because air scatters blue light far more than it scatters red light.",
    "hotkey-2": "During the day the sky is blue: molecules of air scatter short waves of light, and blue is short.",
    "hotkey-3": COPIED,
    "hotkey-4": Outcome.TIMEOUT,
    "hotkey-5": COPIED,
}


def accepted(settings: Settings, challenge_id: str = "c-1", at: datetime | None = None, **fields: Any) -> ChallengeId:
    """What the ingress does with a challenge that is pushed."""
    inbox = Inbox.open(settings.inbox_url)
    at = at or datetime.now(UTC)
    request = ChallengeRequest(**{"id": challenge_id, "prompt": PROMPT} | fields)
    inbox.accept(ChallengeId(challenge_id), request.stored(at), at)
    inbox.engine.dispose()
    return ChallengeId(challenge_id)


def responses_to(challenge_id: ChallengeId, answers: Mapping[str, str | Outcome]) -> tuple[Response, ...]:
    return tuple(_response(challenge_id, uid, hotkey, said) for uid, (hotkey, said) in enumerate(answers.items(), 1))


def _response(challenge_id: ChallengeId, uid: int, hotkey: str, said: str | Outcome) -> Response:
    about: dict[str, Any] = {"challenge_id": challenge_id, "hotkey": Hotkey(hotkey), "coldkey": Coldkey(f"cold-{uid}")}
    about |= {"uid": Uid(uid), "ip": f"10.0.0.{uid}", "port": 9000}
    if isinstance(said, Outcome):
        return Response(**about, outcome=said, detail=f"seen: {said}")
    return Response(
        **about,
        outcome=Outcome.ANSWERED,
        text=said,
        elapsed_ms=100.0 + uid,
        finish_reason="stop",
        usage=Usage(9, 30, 39),
    )


def collected(settings: Settings, challenge_id: ChallengeId, answers: Mapping[str, str | Outcome] = ANSWERS) -> None:
    """What its run keeps of the answers."""
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    responses = responses_to(challenge_id, answers)
    key = key_of(inbox, challenge_id)
    Tables(settings.tables_root).write_once(
        "miner_responses", key, responses_frame(responses, asked_at=now, metagraph_block=1)
    )
    inbox.collected(challenge_id, responses, now)
    inbox.engine.dispose()


def scored(
    settings: Settings,
    challenge_id: ChallengeId,
    answers: Mapping[str, str | Outcome] = ANSWERS,
    profiles: Sequence[str] = ("robust",),
    shelf: Shelf = IN_USE,
) -> None:
    """What its run keeps of the scores and the narrative, and for the Challenge API."""
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    row, responses = inbox.get(challenge_id), responses_to(challenge_id, answers)
    embedder, challenge = HashingEmbedder(), row.challenge()
    vectors = embed_round(embedder, challenge_id, challenge.prompt, responses)
    round_, context = unpack(vectors, challenge.prompt, responses), ScoringContext.empty(embedder.dim)
    for name in profiles:
        profile: ScoringProfile = profile_of(name)
        result = score(round_, context, profile, embedder.digest)
        key = key_of(inbox, challenge_id)
        ScoreTables(tables, shelf).write(key, result, profile, embedder.digest, row.received_at)
        if name == profiles[0]:
            narrative = Narrative(compose_narrative(challenge, result, responses), "composed")
            tables.write("narratives", key, narrative_frame(challenge_id, narrative))
    Outbox(inbox.engine).keep_result(challenge_id, b"{}", datetime.now(UTC))
    inbox.engine.dispose()


def told(settings: Settings, detail: str = "HTTP 200", *, refused: bool = False) -> None:
    """What delivering does with all that is due."""
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    outbox = Outbox(inbox.engine)
    for each in outbox.lease(now, 100):
        if refused:
            outbox.park(each, detail)
        else:
            outbox.delivered(each, detail, now)
    inbox.engine.dispose()


def whole_round(
    settings: Settings, challenge_id: str = "c-1", answers: Mapping[str, str | Outcome] = ANSWERS, **fields: Any
) -> ChallengeId:
    """A challenge that went all the way."""
    profiles = fields.pop("profiles", ("robust",))
    named = accepted(settings, challenge_id, **fields)
    collected(settings, named, answers)
    scored(settings, named, answers, profiles)
    told(settings)
    return named


def key_of(inbox: Inbox, challenge_id: ChallengeId) -> TableKey:
    return TableKey.of(challenge_id, inbox.get(challenge_id).received_at)
