"""What Dagster shows no longer."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.about import DECIDES_NOTHING
from assets.challenges import OWNERS
from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.retention.ages import Ages
from loosh_pipeline.retention.clock import trusted_now
from loosh_pipeline.retention.pruning import BUDGET_S, Pruned, Pruner
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.retention_notes import Kept, RetentionNotes
from resources.store import Store

LEASE = "pruning"
LEASE_LENGTH = timedelta(seconds=5 * BUDGET_S)


def now() -> datetime:
    return datetime.now(UTC)


@dg.asset(
    description=(
        "Runs, events, partitions and pictures that are older than RETAIN_DAYS and its like, removed from Dagster "
        "within two minutes; what is left is gone on with soon. Inbox and tables keep everything: `loosh restore "
        "CHALLENGE` shows one again."
    ),
    group_name="upkeep",
    owners=OWNERS,
    kinds={"python", "sqlite"},
    tags=DECIDES_NOTHING,
    code_version="1",
)
def pruned_history(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    try:
        with Leases(store.inbox.engine).held(LEASE, context.run.run_id, LEASE_LENGTH, now):
            pruned = _pruned(context, store)
    except NotTheWriter as error:
        return dg.MaterializeResult(metadata={"waits": str(error), "finished": False})
    return dg.MaterializeResult(metadata=asdict(pruned))


def _pruned(context: dg.AssetExecutionContext, store: Store) -> Pruned:
    settings, clock = get_settings(), now()
    at = trusted_now(store.inbox, clock)
    if at < clock:
        context.log.warning(
            "the clock is far ahead of %s, when history was last looked at: ages are counted from then for a day", at
        )
    pruned = Pruner(context.instance, store.inbox, settings.heatmaps_root, Ages.of(settings)).slice(at)
    notes = RetentionNotes(store.inbox.engine)
    if not pruned.left:
        notes.note_kept(Kept(pruned.kept_challenges, pruned.held_by), now())
    if pruned.finished:
        notes.note_pruned(now())
    return pruned
