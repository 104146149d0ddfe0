"""Sets weights when the chain says they are due."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import not_ready
from loosh_pipeline.domain import Hotkey, Metagraph, Mode
from loosh_pipeline.errors import LooshError
from loosh_pipeline.policy.basis import Basis
from loosh_pipeline.policy.modes import mode_of
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.proposing import gathered
from loosh_pipeline.run_tags import MODE_TAG
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.imported import first_imported_at
from resources.store import Store
from sensors.jobs import BY_SCHEDULE, held_up, set_weights

PAUSE_AFTER_FAILURE = timedelta(minutes=6)
"""What failed once (nobody earned, the chain refused) seldom works two minutes later."""


@dg.schedule(
    job=set_weights,
    cron_schedule="*/2 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Every two minutes: sets weights when they are due by block height, else says why not. Stopped, no weights are "
        "set, and after the chain's activity cutoff the validator earns nothing."
    ),
)
def weights_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.RunRequest | dg.SkipReason:
    # One writer: a run that waits behind evaluations for longer than a tick is not joined by a second one.
    if reason := held_up(context.instance, set_weights.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    settings = get_settings()
    try:
        subnet, own_hotkey = chain.snapshot(settings.netuid), chain.identity()
    except LooshError as error:  # a chain that is away for hours must not fill the history with failed ticks
        return dg.SkipReason(f"the chain could not be read: {error}")
    rows = store.weight_ledger.recent(settings.netuid, own_hotkey, genesis_hash=subnet.genesis_hash)
    mode = mode_of(subnet, own_hotkey, settings.weights_degraded_at, settings.weights_emergency_at)
    not_yet = not_ready(subnet, own_hotkey, settings.weights_interval_blocks, rows, mode)
    if not_yet is not None:
        return dg.SkipReason(not_yet.text)
    # Near the cutoff, older rounds and older weights count too: then it is for the policy to say that there is nothing.
    too_few = _too_few_rounds(store, settings, subnet, own_hotkey) if mode is Mode.NORMAL else None
    return dg.RunRequest(tags=BY_SCHEDULE | {MODE_TAG: mode.value}) if too_few is None else dg.SkipReason(too_few)


def _too_few_rounds(store: Store, settings: Settings, subnet: Metagraph, own: Hotkey) -> str | None:
    now, lookback_h = datetime.now(UTC), settings.emissions_lookback_h
    scored = store.inbox.scored_since(now - timedelta(hours=lookback_h), settings.weights_min_rounds)
    if scored >= settings.weights_min_rounds:
        return None
    waits = (
        f"{scored} rounds were scored in the last {lookback_h:g} h; WEIGHTS_MIN_ROUNDS is {settings.weights_min_rounds}"
    )
    if first_imported_at(store.tables, now, lookback_h) is not None:
        try:
            found = propose(gathered(settings, store.tables, store.inbox.engine, subnet, own, now))
        except LooshError as error:
            return f"{waits}, and of what was taken over no weights can be made: {error}"
        if found.basis == Basis.IMPORTED:
            return None  # what an existing validator had found stands until this one has found as much
    return waits
