"""How the validator stands on the chain, by what is stored: for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Engine

from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.chain_status import facts, stored_standing
from loosh_pipeline.domain import Mode
from loosh_pipeline.settings import Settings

FACTS = {
    "block": ("loosh_chain_block", "Block of the newest snapshot."),
    "block_age_s": ("loosh_chain_age_seconds", "Age of the newest snapshot."),
    "registered": ("loosh_registered", "1 when the hotkey is registered."),
    "validator_permit": ("loosh_validator_permit", "1 when it holds a permit."),
    "stake": ("loosh_stake", "Its stake, as the chain counts it."),
    "stake_threshold": ("loosh_stake_threshold", "Stake that weights ask for."),
    "last_update": ("loosh_weights_last_block", "Block of the last weights; 0: never."),
    "blocks_since_update": ("loosh_weights_blocks_since", "Blocks since the last weights."),
    "activity_cutoff_blocks": ("loosh_weights_cutoff_blocks", "After as many the validator counts as inactive."),
}


def chain(settings: Settings, engine: Engine, now: datetime) -> Iterator[Metric]:
    """Figures of the newest stored snapshot and submission; what is not known is left out."""
    standing = stored_standing(settings, engine, now)
    found = facts(standing, settings)
    for name, (metric, about) in FACTS.items():
        if (value := found.get(name)) is not None:
            yield GaugeMetricFamily(metric, about, value=float(value))
    if found["due_block"] is not None and found["block"] is not None:
        due = max(0, found["due_block"] - found["block"])
        yield GaugeMetricFamily("loosh_weights_due_blocks", "Blocks until weights are due; 0: now.", value=due)
    yield _one_of("loosh_weights_mode", "1 for the mode that holds.", "mode", Mode, found.get("mode"))
    newest = standing.rows[0] if standing.rows else None
    state = None if newest is None else newest.state
    yield _one_of("loosh_weights_submission", "1 for the state of the newest.", "state", SubmissionState, state)
    if newest is not None:
        at = newest.created_at.timestamp()
        yield GaugeMetricFamily("loosh_weights_submitted_timestamp_seconds", "When it was made.", value=at)
    standing_now = GaugeMetricFamily("loosh_chain_alert", "1 for each alert that stands.", labels=["code"])
    for code in sorted({each.code for each in alerts(standing)}):
        standing_now.add_metric([code], 1)
    yield standing_now


def _one_of(name: str, about: str, label: str, all_: type[Mode | SubmissionState], holds: str | None) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[label])
    for each in all_:
        family.add_metric([each.value], float(each.value == holds))
    return family
