"""What the profiles that do not pay would change in the weights that were set."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.about import DECIDES_NOTHING, of_table, page_of_weights
from assets.challenges import OWNERS
from assets.shadow_emissions import shadow_emissions
from assets.weights import weights
from loosh_pipeline.audit.recorded import recorded_epoch
from loosh_pipeline.audit.scorer_diff import SHADOW_DIFF, ScorerDiff, diff_frame, scorer_diff
from loosh_pipeline.audit.stored_rows import scorer_named
from loosh_pipeline.errors import StoreError
from loosh_pipeline.scorers import shadow_profiles, shadow_versions
from loosh_pipeline.settings import Settings, get_settings
from resources.store import Store, preview, run_key, written


@dg.asset(
    description=(
        "Each shadow profile beside the one that pays, over the rounds that both scored and after the same policy: the "
        "part of all weight that would go to others, rank correlation, the trust that would be left if all others "
        "paid by it, who would be flagged. A row is one miner under one shadow profile. `loosh diff` says the same of "
        "any two scorers. It decides nothing."
    ),
    deps=[weights, shadow_emissions],
    group_name="weights",
    owners=OWNERS,
    kinds={"numpy", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("shadow_diff"),
    code_version=f"1 {shadow_versions(get_settings())}",
)
def shadow_diff(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    settings, now = get_settings(), datetime.now(UTC)
    found, why = [], []
    for shadow in shadow_profiles(settings):
        try:
            found.append(_compared(store, settings, shadow.name, now))
        except StoreError as error:  # no weights were set yet, or nothing is stored under it
            context.log.warning("%s: %s", shadow.name, error)
            why.append(f"{shadow.name}: {error}")
    if not shadow_profiles(settings):
        why = ["SCORING_PROFILES names only the one that pays"]
    # Written even where it has no rows: the check looks at what this run found, not at what one before it did.
    frame = pl.concat([pl.DataFrame(schema=SHADOW_DIFF), *(diff_frame(each, now) for each in found)])
    table = store.tables.write("shadow_diff", run_key(now, context.run.run_id), frame)
    if not found:
        return dg.MaterializeResult(metadata={"compared": f"nothing: {'; '.join(why)}", **written(table)})
    figures = {name: value for each in found for name, value in _said(each).items()}
    missing = [line for each in found for line in each.missing]
    about: dict[str, Any] = {"epoch": found[0].epoch, "compared": ", ".join(each.b.said for each in found)}
    told: dict[str, Any] = {"not_compared": "; ".join([*why, *missing]) or "none", **page_of_weights(found[0].epoch)}
    return dg.MaterializeResult(metadata={**about, **figures, **told, **written(table)})


def _compared(store: Store, settings: Settings, shadow: str, now: datetime) -> ScorerDiff:
    tables = store.tables
    epoch = recorded_epoch(store.inbox.engine, tables)
    pays, other = (scorer_named(tables, name) for name in (settings.pay_profile, shadow))
    since = now - timedelta(hours=settings.emissions_lookback_h)
    return scorer_diff(tables, epoch, pays, other, since, now)


def _said(found: ScorerDiff) -> dict[str, Any]:
    """Figures by profile, which the UI plots."""
    diff, name = found.diff, found.b.said
    known = {"rank_correlation": diff.rank_correlation, "expected_vtrust": diff.vtrust}
    return {
        f"{name}_total_variation": diff.total_variation,
        **{f"{name}_{figure}": value for figure, value in known.items() if value is not None},
        f"{name}_newly_flagged": len(diff.newly_flagged),
        f"{name}_no_longer_flagged": len(diff.no_longer_flagged),
        f"{name}_rounds": found.rounds,
        f"{name}_versions": ", ".join(found.after.earned.versions),
        f"{name}_moves": preview(diff_frame(found, found.until), ["hotkey", "weight_a", "weight_b", "change"]),
    }


@dg.asset_check(
    asset=shadow_diff,
    description=(
        "Every shadow profile was compared, and none would give more of the weight to others than SHADOW_MAX_CHANGE; "
        "else it warns."
    ),
)
def shadow_moves_little(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
    frame, settings = store.tables.latest("shadow_diff"), get_settings()
    moved = {} if frame is None else dict(frame.select("b", "total_variation").unique().sort("b").iter_rows())
    shadows, most = [each.name for each in shadow_profiles(settings)], settings.shadow_max_change
    said = [f"{part:.1%} would go to others under {name}" for name, part in moved.items()]
    # Weights that neither side could set leave no rows, as what was not compared at all does.
    missing = [name for name in shadows if name not in moved]
    said += [f"{name} was not compared, or no weights could be set under either" for name in missing]
    return dg.AssetCheckResult(
        passed=not missing and all(part <= most for part in moved.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"reason": ", ".join(said) or "no shadow profile runs", "most": most},
    )
