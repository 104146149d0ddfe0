"""Whoever is told that something is wrong is told where to look, and a command to begin with."""

from __future__ import annotations

import pytest

from ingress.pages.leads import lead_of, with_command
from loosh_pipeline.alerting.conditions import Alert, Severity, Source

DAGSTER = "http://dagster.example"


@pytest.mark.parametrize(
    ("key", "source", "href"),
    [
        ("chain:no_permit", Source.CHAIN, "weights"),
        ("away:chain", Source.PROCESSES, "weights"),
        ("parked:challenges", Source.STORES, "challenges?state=failed"),
        ("parked:result", Source.STORES, "#deliveries"),
        ("check:weight_proposal:sums_to_one", Source.DAGSTER, f"{DAGSTER}/assets/weight_proposal"),
        ("runs:set_weights", Source.DAGSTER, f"{DAGSTER}/runs?q%5B0%5D=job%3Aset_weights"),
        ("restarts:worker", Source.PROCESSES, "#processes"),
    ],
)
def test_each_alert_leads_to_where_it_is_seen(key: str, source: Source, href: str) -> None:
    alert = Alert(key, source, Severity.WARNING, "it", "do this")
    assert lead_of(alert, DAGSTER).href == href
    assert DAGSTER not in lead_of(alert, "").href


def test_an_action_without_a_command_gets_one() -> None:
    assert with_command("`loosh retry` does it", Source.STORES) == "`loosh retry` does it"
    assert with_command("stake more", Source.CHAIN) == "stake more; `loosh chain status` says more"
    assert with_command("see the disk", Source.STORES) == "see the disk; `loosh doctor` looks closer"
