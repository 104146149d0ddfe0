"""What each miner earned over the lookback, and whether that may become weights."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_duckdb import DuckDBResource

from assets.challenges import OWNERS
from assets.consensus_scores import consensus_scores
from loosh_pipeline.domain import Emission
from loosh_pipeline.emissions import CHECKS, emissions_of
from loosh_pipeline.payouts import Payouts, payouts_of
from loosh_pipeline.scorers import model_warning, paying_profile
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import emissions_frame
from loosh_pipeline.store.frames import emissions_of as emissions_from
from resources.store import Store, preview, run_key, written


@dg.asset(
    description=(
        "What each miner earned over the lookback under the profile that pays. The robust one settles the rounds "
        "together: identities worded alike round after round are one source with one vote and one pay, and votes "
        "weigh by track record. Every failed ask counts as 0; two pseudo-rounds at 0 keep the unproven small."
    ),
    deps=[consensus_scores],
    group_name="weights",
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    code_version=scorer_version(paying_profile(get_settings())),
)
def emissions(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], duckdb: DuckDBResource
) -> dg.MaterializeResult[None]:
    settings, now = get_settings(), datetime.now(UTC)
    since = now - timedelta(hours=settings.emissions_lookback_h)
    profile, key = paying_profile(settings), run_key(now, context.run.run_id)
    with duckdb.get_connection() as connection:
        payouts = payouts_of(store.score_tables.window_rows(connection, profile, since), profile)
    if payouts.settled is not None:
        store.tables.write("settled_scores", key, payouts.settled)
    if (warning := model_warning(settings)) is not None:
        context.log.warning(warning)
    paid, rounds = emissions_of(payouts, profile, now), sum(payouts.rounds.values())
    frame = emissions_frame(paid, profile.name, rounds)
    table = store.tables.write("emissions", key, frame)
    return dg.MaterializeResult(
        metadata={
            "since": dg.MetadataValue.timestamp(since),
            "profile": profile.name,
            "scorer_versions": ", ".join(payouts.rounds) or "no round",
            "rounds": rounds,
            "miners": len(paid),
            "earning": sum(each.weight > 0 for each in paid),
            "one_source": _sources(payouts),
            "warning": warning or "none",
            "emissions": preview(frame.sort("weight", descending=True), ["hotkey", *frame.columns[1:7]]),
            **written(table),
        }
    )


def _sources(payouts: Payouts) -> str:
    """Which identities the window takes for one source."""
    found = [f"{a} = {b} ({history.degree:.0%})" for (a, b), history in payouts.sources.items()]
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "") or "none"


def newest_emissions(store: Store) -> tuple[Emission, ...]:
    """What `emissions` wrote last; nothing before it ever ran."""
    frame = store.tables.latest("emissions")
    return () if frame is None else emissions_from(frame)


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
