"""Which alerts stand, by what was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loosh_pipeline.alerting.conditions import (
    DEATHS_WITHIN,
    MANY_DEATHS,
    UNWELL_FOR_S,
    FailedCheck,
    FailedRuns,
    Seen,
    Severity,
    Source,
    standing_alerts,
)
from loosh_pipeline.chain.alerts import Alert as ChainAlert
from loosh_pipeline.retention.overdue import Overdue
from loosh_pipeline.supervisor import Death

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def died(*minutes_ago: float) -> list[Death]:
    return [Death(NOW - timedelta(minutes=ago), "ended with code 1") for ago in minutes_ago]


def test_nothing_seen_is_nothing_to_look_at() -> None:
    assert standing_alerts(Seen(NOW)) == []


@pytest.mark.parametrize(
    ("seen", "key", "severity", "said"),
    [
        ({"failed_runs": [FailedRuns("set_weights", 2, "r-1", "the chain is away")]}, "runs:set_weights", "warning",
         "2 runs of set_weights failed, the newest r-1: the chain is away"),
        ({"failed_checks": [FailedCheck("emissions", "sound", True, "NaN")]}, "check:emissions:sound", "critical",
         "the check sound of emissions fails: NaN"),
        ({"failed_checks": [FailedCheck("emissions", "sound", False, "")]}, "check:emissions:sound", "warning",
         "the check sound of emissions fails"),
        ({"chain": [ChainAlert("mode_degraded", "weights", "late", "look")]}, "chain:mode_degraded", "warning", "late"),
        ({"chain": [ChainAlert("mode_emergency", "weights", "late", "look")]}, "chain:mode_emergency", "critical",
         "late"),
        ({"chain": [ChainAlert("weights_missing", "receipts", "gone", "look")]}, "chain:weights_missing", "warning",
         "gone"),
        ({"parked_deliveries": {"response_batch": 2}, "refusal": "HTTP 422"}, "parked:response_batch", "warning",
         "2 deliveries of kind response_batch were refused by the Challenge API; the newest refusal: HTTP 422"),
        ({"parked_challenges": 3, "parked_example": "c-1: died"}, "parked:challenges", "critical",
         "3 challenges are given up, the newest c-1: died"),
        ({"unwell": ["a disk is full"]}, "unwell", "critical", "no challenge is taken: a disk is full"),
        ({"deaths": {"worker": died(9, 5, 1)}}, "restarts:worker", "critical",
         "worker was restarted 3 times within 10 minutes; it ended with code 1"),
        ({"overdue": Overdue("not pruned for 4 days")}, "history", "warning", "not pruned for 4 days"),
        ({"blind": {Source.DAGSTER: "is it running?"}}, "away:dagster", "warning",
         "dagster cannot be looked at: is it running?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_an_alert(seen: dict[str, object], key: str, severity: str, said: str) -> None:
    (alert,) = standing_alerts(Seen(NOW, **seen))  # type: ignore[arg-type]
    assert (alert.key, alert.severity, alert.text) == (key, severity, said)
    assert alert.action


def test_what_may_pass_by_itself_must_stand_for_a_while() -> None:
    chain = [ChainAlert(code, "chain", "x", "y") for code in ("chain_unseen", "no_permit")]
    seen = Seen(NOW, unwell=["x"], blind={Source.DAGSTER: "y"}, parked_challenges=1, chain=chain)
    assert {alert.key: alert.after_s for alert in standing_alerts(seen)} == {
        "unwell": UNWELL_FOR_S,
        "chain:chain_unseen": UNWELL_FOR_S,
        "chain:no_permit": 0.0,
        "away:dagster": UNWELL_FOR_S,
        "parked:challenges": 0.0,
    }


def test_few_or_old_restarts_are_none() -> None:
    long_ago = DEATHS_WITHIN.total_seconds() / 60 + 1
    assert standing_alerts(Seen(NOW, deaths={"a": died(*[1] * (MANY_DEATHS - 1)), "b": died(1, 1, long_ago)})) == []


def test_restarts_of_the_future_are_none() -> None:
    """As they are after a clock was set back."""
    assert standing_alerts(Seen(NOW, deaths={"a": died(-300, -299, -1)})) == []


def test_one_code_is_one_alert_and_the_critical_come_first() -> None:
    twice = [ChainAlert("signer_mismatch", "chain", text, "look") for text in ("first", "second")]
    seen = Seen(NOW, parked_deliveries={"heatmap": 1}, chain=[ChainAlert("low_stake", "chain", "low", "x"), *twice])
    found = standing_alerts(seen)
    assert [alert.severity for alert in found] == [Severity.CRITICAL, Severity.WARNING, Severity.WARNING]
    assert found[0].text == "first; second"
