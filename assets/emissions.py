"""What each miner earned over the lookback, and whether that may become weights."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_duckdb import DuckDBResource

from assets.challenges import OWNERS
from assets.consensus_scores import SCORER_VERSION, consensus_scores
from loosh_pipeline.domain import Emission
from loosh_pipeline.emissions import CHECKS, Earnings, aggregate
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import emissions_frame, emissions_of
from resources.store import Store, preview, run_key, written

# One row per challenge and miner: the version that pays now where a challenge has it, else the one it has.
EARNINGS_SQL = """
WITH paid_by AS (
    SELECT * FROM consensus_scores WHERE received_at >= $since
    QUALIFY row_number() OVER (
        PARTITION BY challenge_id, hotkey ORDER BY scorer_version = $version DESC, scorer_version DESC
    ) = 1
)
SELECT hotkey, count(*) AS asked, count(*) FILTER (outcome = 'answered') AS answered,
       count(*) FILTER (payout > 0) AS paid, sum(payout) AS payout_sum,
       max(received_at) FILTER (outcome = 'answered') AS last_answered_at
FROM paid_by GROUP BY hotkey ORDER BY hotkey
"""


@dg.asset(
    description=(
        "Mean payout per hotkey over the lookback, every failed ask counted as 0, shrunk towards zero by two "
        "pseudo-rounds so that the unproven earn little; normalised to the weights to be set."
    ),
    deps=[consensus_scores],
    group_name="weights",
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    code_version="1",
)
def emissions(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], duckdb: DuckDBResource
) -> dg.MaterializeResult[None]:
    now = datetime.now(UTC)
    since = now - timedelta(hours=get_settings().emissions_lookback_h)
    result = aggregate(_earnings(store, duckdb, since))
    frame = emissions_frame(result)
    table = store.tables.write("emissions", run_key(now, context.run.run_id), frame)
    return dg.MaterializeResult(
        metadata={
            "since": dg.MetadataValue.timestamp(since),
            "scorer_version": SCORER_VERSION,
            "miners": len(result),
            "earning": sum(each.weight > 0 for each in result),
            "emissions": preview(frame.sort("weight", descending=True), ["hotkey", *frame.columns[1:7]]),
            **written(table),
        }
    )


def _earnings(store: Store, duckdb: DuckDBResource, since: datetime) -> list[Earnings]:
    with duckdb.get_connection() as connection:
        if not store.tables.register_views(connection, ["consensus_scores"], since.date()):
            return []
        found = connection.execute(EARNINGS_SQL, {"since": since, "version": SCORER_VERSION}).fetchall()
    return [Earnings(*row) for row in found]


def newest_emissions(store: Store) -> tuple[Emission, ...]:
    """What `emissions` wrote last; nothing before it ever ran."""
    frame = store.tables.latest("emissions")
    return () if frame is None else emissions_of(frame)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=emissions, blocking=True, description=(check.__doc__ or "").strip() or None)
        for name, check in CHECKS.items()
    ]
)
def emissions_checks(store: dg.ResourceParam[Store]) -> Iterator[dg.AssetCheckResult]:
    """Weights are set only when every one of these holds."""
    found = newest_emissions(store)
    for name, check in CHECKS.items():
        verdict = check(found)
        yield dg.AssetCheckResult(
            check_name=name, asset_key="emissions", passed=verdict.passed, metadata={"reason": verdict.reason}
        )
