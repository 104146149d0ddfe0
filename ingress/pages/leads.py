"""Where somebody looks first who was told that something is wrong: a page of these, or one of Dagster's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ingress.pages import dagster_ui
from loosh_pipeline.alerting.conditions import Alert, Source

DOCTOR = "`loosh doctor` looks closer"
CHAIN_STATUS = "`loosh chain status` says more"


@dataclass(frozen=True, slots=True)
class Lead:
    """A link: `href` from the root of the ingress, or an address in Dagster's pages (`outside`)."""

    href: str
    name: str
    outside: bool = False


PROCESSES = Lead("#processes", "processes")
WEIGHTS = Lead("weights", "weights")
GIVEN_UP = Lead("challenges?state=failed", "challenges that were given up")
REFUSED = Lead("#deliveries", "what was refused")


def lead_of(alert: Alert, dagster_url: str) -> Lead:
    """`dagster_url`: empty where there is no Dagster to lead to; then the processes are what there is to see."""
    kind, _, of = alert.key.partition(":")
    if alert.source is Source.CHAIN or alert.key == f"away:{Source.CHAIN}":
        return WEIGHTS
    if kind == "parked":
        return GIVEN_UP if of == "challenges" else REFUSED
    if not dagster_url:
        return PROCESSES
    if kind == "check":
        asset = of.partition(":")[0]
        return Lead(dagster_ui.of_asset(dagster_url, asset), f"{asset} in Dagster", outside=True)
    if kind == "runs":
        return Lead(dagster_ui.of_job_runs(dagster_url, of), f"runs of {of} in Dagster", outside=True)
    return PROCESSES


def with_command(action: str, source: Source) -> str:
    """What to do, with one command to begin with where it names none."""
    if "`loosh " in action:
        return action
    return f"{action}; {CHAIN_STATUS if source is Source.CHAIN else DOCTOR}"
