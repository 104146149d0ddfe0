"""Reads submitted weights back until the chain has decided on them."""

from datetime import timedelta

import dagster as dg

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings
from loosh_pipeline.weight_setting import utc_now
from resources.store import Store
from sensors.jobs import BY_SCHEDULE, held_up, read_receipts, set_weights

PAUSE_AFTER_FAILURE = timedelta(minutes=5)
"""A chain that is away for hours must not fill the history with failed runs."""
FIRST_LOOK = timedelta(seconds=45)
"""A block is final after that, and what broke off is on the chain or not."""
BETWEEN_LOOKS = timedelta(minutes=2)
WHILE_COMMITTED = timedelta(minutes=10)
"""A commit is revealed an epoch later, 72 minutes at the usual tempo."""


@dg.schedule(
    job=read_receipts,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Every minute: reads submissions back from the chain when one is undecided and due to be looked at. Stopped, "
        "nobody notices weights that the chain does not hold."
    ),
)
def receipts_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.RunRequest | dg.SkipReason:
    try:
        own_hotkey = chain.identity()
    except ConfigError as error:
        return dg.SkipReason(str(error))
    # The chain itself is not asked: whether there is anything to ask for stands in the ledger.
    rows = store.submitted(get_settings().netuid, own_hotkey)
    if not rows:
        return dg.SkipReason("nothing was submitted yet, so there is nothing to read back")
    if reason := _nothing_to_read(next((row for row in rows if row.is_open), rows[0])):
        return dg.SkipReason(reason)
    for job, pause in ((set_weights, timedelta(0)), (read_receipts, PAUSE_AFTER_FAILURE)):
        if reason := held_up(context.instance, job.name, pause):
            return dg.SkipReason(reason)
    return dg.RunRequest(tags=BY_SCHEDULE)


def _nothing_to_read(row: SubmissionRow) -> str | None:
    if not row.is_open:
        return f"the weights of block {row.plan.block} are {row.state}: {row.reason}"
    pause = FIRST_LOOK if row.seen_at == row.changed_at else BETWEEN_LOOKS
    if row.state is SubmissionState.COMMITTED:
        pause = WHILE_COMMITTED
    ago = utc_now() - row.seen_at
    if ago >= pause:
        return None
    seen = f"{ago.total_seconds():.0f} s ago"
    return f"the weights of block {row.plan.block} were {row.state} {seen}; the next look is {pause} after that"
