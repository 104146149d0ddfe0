"""What the overview says first: whether all is well, and else what is wrong and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ingress.health import STOPPED
from ingress.outlook import View
from ingress.pages.leads import DOCTOR, PROCESSES, WEIGHTS, Lead, lead_of, with_command
from ingress.pages.passages import cut
from loosh_pipeline.alerting.conditions import Severity
from loosh_pipeline.settings.roles import INGRESS

Tone = Literal["good", "warn", "bad"]

RESUME = 'on the validator\'s own machine, POST {"running": true} to /set_running'
AS_IT_SAYS = f"look at what it names: {DOCTOR}; docs/operating/troubleshooting.md"
TEXT_ROOM = 600
"""Bytes of what is wrong: it may repeat why a challenge failed, or what the Challenge API said, of any length. Whole it
is on the page of the challenge, and in the run's log.
"""
START = "`loosh up` starts what does not run; LOOSH_HOME/logs/NAME.log says why something ended"
ASK_CHAIN = "`loosh chain status` asks it, and says what it said"
ASK_BROKER = "is it up, and is CELERY_BROKER_URL right? `loosh doctor` asks it"


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong, what to do about it, and where more of it is to be seen."""

    tone: Tone
    text: str
    action: str
    lead: Lead

    @classmethod
    def of(cls, tone: Tone, text: str, action: str, lead: Lead) -> Concern:
        """With as much of the text as a page has room for."""
        return cls(tone, cut(text, TEXT_ROOM), action, lead)


@dataclass(frozen=True, slots=True)
class Headline:
    """How this validator is, in one sentence. `tone`: None until it was looked at."""

    tone: Tone | None
    text: str


def concerns(reasons: Sequence[str], view: View | None, dagster_url: str = "") -> list[Concern]:
    """Everything that somebody should look at, what is worst first. `reasons`: why no challenge is taken."""
    found = [Concern.of("bad", f"no challenge is taken: {each}", _todo(each), PROCESSES) for each in reasons]
    if view is not None:
        found += (*_of_alerts(view, dagster_url), *_of_processes(view), *_of_what_is_away(view))
    return sorted(found, key=lambda each: each.tone != "bad")


def headline(reasons: Sequence[str], view: View | None) -> Headline:
    """One sentence of what `concerns` finds."""
    found = concerns(reasons, view)
    if reasons:
        return Headline("bad", "No challenge is taken now.")
    if view is None:
        return Headline(None, "Looking… challenges are taken; the rest was not seen yet.")
    if not found:
        return Headline("good", "All is well: challenges are taken.")
    worst = found[0].tone
    many = "one thing" if len(found) == 1 else f"{len(found)} things"
    told = "needs" if len(found) == 1 else "need"
    return Headline(worst, f"Challenges are taken; {many} {told} a look.")


def _todo(reason: str) -> str:
    return RESUME if reason == STOPPED else AS_IT_SAYS


def _of_alerts(view: View, dagster_url: str) -> Iterator[Concern]:
    for alert in view.alerts:
        if alert.key != "unwell":  # told already, by the ingress itself
            tone: Tone = "bad" if alert.severity is Severity.CRITICAL else "warn"
            yield Concern.of(tone, alert.text, with_command(alert.action, alert.source), lead_of(alert, dagster_url))


def _of_processes(view: View) -> Iterator[Concern]:
    stopped = [each["name"] for each in view.processes if each["state"] == "stopped" and each["name"] != INGRESS]
    if stopped:
        runs = "does not run" if len(stopped) == 1 else "do not run"
        yield Concern.of("bad", f"{', '.join(stopped)} {runs} on this machine", START, PROCESSES)


def _of_what_is_away(view: View) -> Iterator[Concern]:
    if view.chain.get("block") is not None and not view.chain["reached"]:
        yield Concern.of("warn", "no endpoint of the chain answers", ASK_CHAIN, WEIGHTS)
    if view.broker is not None and not view.broker["reachable"]:
        yield Concern.of("bad", f"the broker {view.broker['problem']}", ASK_BROKER, PROCESSES)
