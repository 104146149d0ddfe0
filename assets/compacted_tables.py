"""Tables of days that are over, in few large files."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import dagster as dg

from assets.about import DECIDES_NOTHING
from assets.challenges import OWNERS, READ_ONCE
from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.retention.clock import trusted_now
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.history import Forgotten, Summary, compact_history, forget_history
from loosh_pipeline.store.leases import Leases
from resources.store import Store

SLICE_S = 120.0
"""How long one run goes on; the next goes on from there."""
LEASE = "compaction"
MOST_PROBLEMS = 10
LEASE_LENGTH = timedelta(seconds=5 * SLICE_S)
"""A slice ends with the part that is being written. Whoever is slower than that still does no harm."""


@dg.asset(
    description=(
        "Tables of days that ended COMPACT_AFTER_DAYS ago lie in few large files, which read as the many small ones "
        "did: names, rows, digests. What lay alone is removed an hour after it was packed, and only if both say the "
        "same. With RETAIN_TABLES_DAYS, older days are deleted."
    ),
    group_name="upkeep",
    owners=OWNERS,
    kinds={"python", "parquet"},
    tags=DECIDES_NOTHING,
    code_version="1",
)
def compacted_tables(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    settings, ends_s = get_settings(), monotonic() + SLICE_S
    try:
        with Leases(store.inbox.engine).held(LEASE, context.run.run_id, LEASE_LENGTH, _now):
            half_s, now = (monotonic() + ends_s) / 2, trusted_now(store.inbox, _now())
            forgotten = forget_history(store.tables, settings.retain_tables_days, now, lambda: monotonic() >= half_s)
            found = compact_history(store.tables, settings.compact_after_days, _now, lambda: monotonic() >= ends_s)
    except NotTheWriter as error:
        return dg.MaterializeResult(data_version=READ_ONCE, metadata={"waits": str(error), "finished": False})
    for each in forgotten.deleted:
        context.log.warning(f"deleted, as RETAIN_TABLES_DAYS is set: {each}")
    for problem in (*forgotten.problems, *found.done.problems):
        context.log.warning(problem)
    return dg.MaterializeResult(data_version=READ_ONCE, metadata=_said(found, forgotten))


def _said(found: Summary, forgotten: Forgotten) -> dict[str, str | int | bool]:
    """For the page of the asset."""
    done = found.done
    problems = [*forgotten.problems, *done.problems]
    return {
        "finished": found.finished and forgotten.finished,
        "up_to": f"{found.until}",
        "days": found.days,
        "packed": done.packed,
        "parts": done.parts,
        "bytes_before": done.bytes_before,
        "bytes_after": done.bytes_after,
        "removed": done.removed,
        "dropped": done.dropped,
        "days_left": found.days_left,
        "files_left": done.left,
        "files_stuck": done.stuck,
        "parts_replaced": done.replaced,
        "forgotten": len(forgotten.deleted),
        "problems": "; ".join(problems[:MOST_PROBLEMS]) or "none",
    }


def _now() -> datetime:
    return datetime.now(UTC)
