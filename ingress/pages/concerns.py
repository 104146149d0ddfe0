"""What the overview says first: whether all is well, and else what is wrong and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ingress.health import STOPPED
from ingress.outlook import View
from ingress.pages.passages import cut
from loosh_pipeline.alerting.conditions import Severity
from loosh_pipeline.settings.roles import INGRESS

Tone = Literal["good", "warn", "bad"]

RESUME = 'on the validator\'s own machine, POST {"running": true} to /set_running'
AS_IT_SAYS = "look at what it names; docs/operating/troubleshooting.md, `When something is wrong`"
TEXT_ROOM = 600
"""Bytes of what is wrong: it may repeat why a challenge failed, or what the Challenge API said, of any length. Whole it
is on the page of the challenge, and in the run's log.
"""
START = "`loosh up` starts what does not run; LOOSH_HOME/logs/NAME.log says why something ended"


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong, and what to do about it."""

    tone: Tone
    text: str
    action: str

    @classmethod
    def of(cls, tone: Tone, text: str, action: str) -> Concern:
        """With as much of the text as a page has room for."""
        return cls(tone, cut(text, TEXT_ROOM), action)


@dataclass(frozen=True, slots=True)
class Headline:
    """How this validator is, in one sentence."""

    tone: Tone
    text: str


def concerns(reasons: Sequence[str], view: View | None) -> list[Concern]:
    """Everything that somebody should look at, what is worst first. `reasons`: why no challenge is taken."""
    found = [Concern.of("bad", f"no challenge is taken: {each}", _todo(each)) for each in reasons]
    if view is not None:
        found += (*_of_alerts(view), *_of_processes(view), *_of_what_is_away(view))
    return sorted(found, key=lambda each: each.tone != "bad")


def headline(reasons: Sequence[str], view: View | None) -> Headline:
    """One sentence of what `concerns` finds."""
    found = concerns(reasons, view)
    if reasons:
        return Headline("bad", "No challenge is taken now.")
    if view is None:
        return Headline("good", "Challenges are taken; the rest is being looked at.")
    if not found:
        return Headline("good", "All is well: challenges are taken.")
    worst = found[0].tone
    many = "one thing" if len(found) == 1 else f"{len(found)} things"
    told = "needs" if len(found) == 1 else "need"
    return Headline(worst, f"Challenges are taken; {many} {told} a look.")


def _todo(reason: str) -> str:
    return RESUME if reason == STOPPED else AS_IT_SAYS


def _of_alerts(view: View) -> Iterator[Concern]:
    for alert in view.alerts:
        if alert.key != "unwell":  # told already, by the ingress itself
            yield Concern.of("bad" if alert.severity is Severity.CRITICAL else "warn", alert.text, alert.action)


def _of_processes(view: View) -> Iterator[Concern]:
    stopped = [each["name"] for each in view.processes if each["state"] == "stopped" and each["name"] != INGRESS]
    if stopped:
        runs = "does not run" if len(stopped) == 1 else "do not run"
        yield Concern.of("bad", f"{', '.join(stopped)} {runs} on this machine", START)


def _of_what_is_away(view: View) -> Iterator[Concern]:
    if view.chain.get("block") is not None and not view.chain["reached"]:
        yield Concern.of(
            "warn", "no endpoint of the chain answers", "`loosh chain status` asks it, and says what it said"
        )
    if view.broker is not None and not view.broker["reachable"]:
        yield Concern.of("bad", f"the broker {view.broker['problem']}", "is it up, and is CELERY_BROKER_URL right?")
