"""What of the list of challenges an address asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.listing import Place, Wanted

MAX_CHARS = 200
"""Of what is searched for; no id is longer."""
MOST_WORDS = 10
DAY = timedelta(days=1)


class CannotAsk(ValueError):
    """An address asks for what there is not; the text says what there is."""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The filters as they were given: an empty one filters nothing. `q`: the beginning of an id, or words."""

    state: str = ""
    q: str = ""
    day: str = ""
    before: str = ""

    def wanted(self) -> Wanted:
        """Raises CannotAsk."""
        since, until = _between(self.day)
        return Wanted(_state(self.state), since, until, _words(self.q))

    def after(self) -> Place | None:
        """The place in the list from which on it is asked for. Raises CannotAsk."""
        if not self.before:
            return None
        at, comma, challenge_id = self.before.partition(",")
        moment = _moment(at)
        if moment is None or not comma or "\0" in challenge_id:
            raise CannotAsk("before= is TIME,ID of the challenge after which the list goes on, as the pages link it")
        return Place(moment, ChallengeId(challenge_id))

    def link(self, **changes: str) -> str:
        """The query of an address that asks for the same but for these changes; from the top, unless they say else."""
        asked: Mapping[str, str] = {"state": self.state, "q": self.q, "day": self.day} | changes
        given = {name: value for name, value in asked.items() if value}
        return f"?{urlencode(given)}" if given else ""

    def further(self, place: Place) -> str:
        """The query that goes on from a place."""
        return self.link(before=f"{place.received_at.isoformat()},{place.id}")

    @property
    def filters(self) -> bool:
        return bool(self.state or self.q or self.day)


def asked_for(state: str, q: str, day: str, before: str) -> AskedFor:
    """The filters without blanks around them. Raises CannotAsk."""
    q = " ".join(q.replace("\0", " ").split())
    if len(q) > MAX_CHARS:
        raise CannotAsk(f"q= is at most {MAX_CHARS} characters; this has {len(q)}")
    return AskedFor(state.strip(), q, day.strip(), before.strip())


def _state(given: str) -> ChallengeState | None:
    if not given:
        return None
    try:
        return ChallengeState(given)
    except ValueError:
        known = ", ".join(ChallengeState)
        raise CannotAsk(f"there is no state {given[:MAX_CHARS]!r}; state= is one of {known}, or empty") from None


def _moment(text: str) -> datetime | None:
    """An aware time; None for what is none."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _between(day: str) -> tuple[datetime, datetime] | tuple[None, None]:
    """The midnights around a day."""
    if not day:
        return None, None
    try:
        since = datetime.combine(date.fromisoformat(day), time(), UTC)
        return since, since + DAY
    except (ValueError, OverflowError):
        raise CannotAsk(f"{day[:MAX_CHARS]!r} is no day; day= is a date in UTC such as 2026-01-31") from None


def _words(q: str) -> tuple[str, ...]:
    words = tuple(q.split())
    if len(words) > MOST_WORDS:
        raise CannotAsk(f"q= holds at most {MOST_WORDS} words; this has {len(words)}")
    return words
