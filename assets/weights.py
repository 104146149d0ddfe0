"""Weights, set on the chain."""

from collections.abc import Sequence

import dagster as dg

from assets.chain_alerts import told
from assets.challenges import OWNERS
from assets.emissions import newest_emissions
from assets.weight_proposal import weight_proposal
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.domain import Emission, Proposal
from loosh_pipeline.emissions import CHECKS
from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.weight_frames import weights_frame
from loosh_pipeline.weight_setting import set_weights, too_old, utc_now
from resources.store import Store, preview, written

RATE_LIMITED = "rate_limited"


@dg.asset(
    description=(
        "The proposal as weights: hotkeys resolved to uids at one block, put on record, signed by the hotkey and "
        "submitted. Included is not yet observed: see weight_receipts."
    ),
    deps=[weight_proposal],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    code_version="2",
)
def weights(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.MaterializeResult[None]:
    own_hotkey = chain.identity()
    try:
        with store.desk(chain, context.run.run_id) as desk:
            subnet = chain.snapshot(get_settings().netuid)
            store.save_metagraph(subnet)
            said = set_weights(desk, subnet, own_hotkey, lambda: _proposed(store))
    except NotTheWriter as error:
        return _skipped(context, NotYet("another_writer", str(error)))
    return _skipped(context, said) if isinstance(said, NotYet) else _told(context, store, said)


def _proposed(store: Store) -> Proposal:
    """What is to be submitted, if it may be: `weights` can be materialized alone."""
    _must_hold(newest_emissions(store))
    proposal = store.newest_proposal()
    assert proposal is not None, "emissions that pass were proposed"
    if (not_yet := too_old(proposal, get_settings().weights_proposal_max_age_s, utc_now())) is not None:
        raise dg.Failure(f"no weights submitted: {not_yet.text}", allow_retries=False)
    return proposal


def _skipped(context: dg.AssetExecutionContext, not_yet: NotYet) -> dg.MaterializeResult[None]:
    context.log.info("no weights submitted: %s", not_yet.text)
    due = {} if not_yet.due_block is None else {"due_block": not_yet.due_block}
    return dg.MaterializeResult(metadata={"skipped": not_yet.text, "code": not_yet.code, **due})


def _told(context: dg.AssetExecutionContext, store: Store, row: SubmissionRow) -> dg.MaterializeResult[None]:
    table, plan = store.save_submission(row), row.plan
    if row.state is SubmissionState.REFUSED:
        if row.error_code == RATE_LIMITED:
            return _skipped(context, NotYet(RATE_LIMITED, row.reason))
        raise dg.Failure(
            f"the chain refused the weights: {row.reason}",
            metadata=written(table),
            allow_retries=False,  # the schedule tries again after reading the chain; never blindly
        )
    shown = weights_frame(row).sort("weight", descending=True)
    return dg.MaterializeResult(
        metadata={
            "submission": row.id,
            "planned_at_block": plan.block,
            "included_block": row.included_block or "unknown",
            "extrinsic_hash": row.extrinsic_hash or "unknown",
            "commit_reveal": row.commit_reveal,
            "spec_version": row.spec_version,
            "miners": len(plan.weights),
            "dropped": dg.MetadataValue.json({str(hotkey): why for hotkey, why in plan.dropped.items()}),
            "weights": preview(shown, ["uid", "hotkey", "weight"]),
            **written(table),
        }
    )


def _must_hold(earned: Sequence[Emission]) -> None:
    """The blocking checks again, on the very rows that are submitted."""
    failed = {name: v.reason for name, check in CHECKS.items() if not (v := check(earned)).passed}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise dg.Failure(f"no weights submitted, the newest emissions do not pass: {reasons}", allow_retries=False)


@dg.asset_check(
    asset=weights, description="Weights are set in time, well before the chain's activity cutoff, and from here alone."
)
def weights_in_time(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> dg.AssetCheckResult:
    return told(store, chain, "weights")
