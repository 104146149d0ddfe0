"""What each miner earned over the lookback."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
from dagster_duckdb import DuckDBResource

from assets.about import DECIDES_PAY, fresh_in_time, of_table, page_of_miners
from assets.challenges import OWNERS
from assets.consensus_scores import consensus_scores
from assets.miner_availability import miner_availability
from loosh_pipeline.domain import Emission, Hotkey, Mode
from loosh_pipeline.left_out import MAX_LEFT_OUT, left_out_frame, said_of, too_many
from loosh_pipeline.paying import Earnings, earned_over, nothing_earned, sources_of
from loosh_pipeline.payouts import Payouts
from loosh_pipeline.policy.bases import suffices, unsound
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.policy.modes import lookbacks_h, only_warns
from loosh_pipeline.proposing import policy_of, rule_of
from loosh_pipeline.scorers import model_warning, paying_profile, paying_version
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.frames import emissions_frame, emissions_of, sources_frame
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, UNPAID_ASKS, write_terms
from loosh_pipeline.store.weighing import last_vector
from loosh_pipeline.store.window_cache import forget_before
from loosh_pipeline.wire.crypto import Signer
from resources.store import Store, preview, run_key, written


@dg.asset(
    description=(
        "What each miner earned over the lookback under the profile that pays: a row a miner, a file each time "
        "weights are made. The robust profile settles the rounds "
        "together: identities worded alike round after round are one source with one vote and one pay, and votes "
        "weigh by track record. Pay is a mean that newer rounds count more in and every failed ask counts 0 in, times "
        "a ramp for newcomers, times how much of the time a miner was there. The next longer lookback is taken only "
        "when weights are pressing and this one pays less than half as many miners as the last weights did."
    ),
    deps=[consensus_scores, miner_availability],
    group_name="weights",
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("emissions"),
    code_version=paying_version(get_settings()),
    freshness_policy=fresh_in_time(get_settings()),
)
def emissions(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    duckdb: DuckDBResource,
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    settings, now = get_settings(), datetime.now(UTC)
    key = run_key(now, context.run.run_id)
    inputs = _inputs(store, Hotkey(signer.ss58_address), settings, now)
    mode = Mode.NORMAL if inputs is None else inputs.mode
    found = _worth_paying(context, store, duckdb, settings, now, inputs)
    lost = left_out_frame(found.payouts, mode)
    store.tables.write("rounds_left_out", key, lost)
    if found.payouts.left_out:
        context.log.warning(said_of(lost))
    if found.payouts.settled is not None:
        store.tables.write("settled_scores", key, found.payouts.settled)
    store.tables.write("sources", key, sources_frame(sources_of(found.payouts)))
    store.tables.write(COUNTED_ROUNDS, key, found.payouts.counted)
    store.tables.write(UNPAID_ASKS, key, found.payouts.unpaid)
    write_terms(store.tables, key, found.terms)
    frame = _frame(found)
    table, warning = store.tables.write("emissions", key, frame), model_warning(settings)
    if warning is not None:
        context.log.warning(warning)
    shown = preview(frame.sort("weight", descending=True), ["hotkey", *frame.columns[1:10]])
    about = {"mode": mode.value, "left_out": said_of(lost), "warning": warning or "none", "emissions": shown}
    return dg.MaterializeResult(metadata={**about, **_said(found), **written(table)})


def _worth_paying(
    context: dg.AssetExecutionContext,
    store: Store,
    duckdb: DuckDBResource,
    settings: Settings,
    now: datetime,
    inputs: Inputs | None,
) -> Earnings:
    """The shortest lookback that the mode allows and that pays enough miners; the longest, where none does."""
    profile, mode = paying_profile(settings), Mode.NORMAL if inputs is None else inputs.mode
    allowed_h = settings.emissions_lookback_h, settings.emissions_emergency_lookback_h
    forget_before(store.tables, now, lookbacks_h(Mode.EMERGENCY, *allowed_h)[-1])
    hours = lookbacks_h(mode, *allowed_h)
    rule = rule_of(settings)
    found = nothing_earned(profile, rule, now, hours[0])
    for lookback_h in hours:
        try:
            with duckdb.get_connection() as connection:
                found = earned_over(store.tables, connection, profile, rule, now, lookback_h, mode)
        except Exception as error:
            if mode is not Mode.EMERGENCY:
                raise
            # One broken table must not cost the validator its place: the last weights are still known.
            context.log.exception("nothing can be said of the last %g h: %s", lookback_h, error)
        if inputs is None or suffices(replace(inputs, earned=Earned(emissions=found.emissions))):
            break
    return found


def _inputs(store: Store, own: Hotkey, settings: Settings, now: datetime) -> Inputs | None:
    """What lengthens a lookback, as of the stored snapshot, minutes old; None before there is any.

    The proposal looks again, and takes no more than it may.
    """
    subnet = store.newest_metagraph()
    if subnet is None:
        return None
    view, last = store.newest_network_view(), last_vector(store.tables)
    return Inputs(now, settings.pay_profile, subnet, own, view=view, last=last, policy=policy_of(settings))


def _frame(found: Earnings) -> pl.DataFrame:
    terms = found.terms
    about = {"made_at": terms.made_at, "lookback_h": terms.lookback_h, "versions": found.payouts.rounds}
    return emissions_frame(found.emissions, terms.profile, terms.rounds, found.answered, **about)


def _said(found: Earnings) -> dict[str, Any]:
    return {
        "since": dg.MetadataValue.timestamp(found.terms.since),
        "lookback_h": found.terms.lookback_h,
        "profile": found.terms.profile,
        "scorer_versions": ", ".join(found.payouts.rounds) or "no round",
        "rounds": found.terms.rounds,
        "miners": len(found.emissions),
        "miners_paid": sum(each.weight > 0 for each in found.emissions),
        "top_weight": round(max((each.weight for each in found.emissions), default=0.0), 4),
        "one_source": _named(found.payouts),
        **page_of_miners(),
    }


def _named(payouts: Payouts) -> str:
    """Which identities the window takes for one source."""
    found = [f"{each.first} = {each.second} ({each.degree:.0%})" for each in sources_of(payouts)]
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "") or "none"


def newest_emissions(store: Store) -> tuple[Emission, ...]:
    """What `emissions` wrote last; nothing before it ever ran."""
    frame = store.tables.latest("emissions")
    return () if frame is None else emissions_of(frame)


@dg.asset_check(
    asset=emissions,
    blocking=True,
    description=(
        "Every emission is a number from 0 on; the proposal could not name who spoiled it. Rescore that round. And no "
        f"more than {MAX_LEFT_OUT:.0%} of the rounds were left out for want of pairs; in need that only warns."
    ),
)
def sound(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
    wrong, lost = unsound(newest_emissions(store)), store.tables.latest("rounds_left_out")
    if not wrong and lost is not None and (mode := too_many(lost)) is not None:
        severity = dg.AssetCheckSeverity.WARN if only_warns(mode) else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(passed=False, severity=severity, metadata={"reason": said_of(lost)})
    return dg.AssetCheckResult(passed=not wrong, metadata={"reason": ", ".join(wrong) or "all are numbers from 0 on"})
