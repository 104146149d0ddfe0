"""What Dagster shows no longer."""

from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from assets.challenges import OWNERS
from loosh_pipeline.retention.ages import Ages
from loosh_pipeline.retention.pruning import Pruner
from loosh_pipeline.settings import get_settings
from resources.store import Store


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
    code_version="1",
)
def pruned_history(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    settings, began_at = get_settings(), now()
    pruned = Pruner(context.instance, store.inbox, settings.heatmaps_root, Ages.of(settings)).slice(began_at)
    if pruned.finished:
        store.inbox.note_pruned(now())
    return dg.MaterializeResult(metadata=asdict(pruned))
