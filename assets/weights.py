"""Weights, set on the chain."""

from collections.abc import Sequence

import dagster as dg

from assets.about import DECIDES_PAY, REACHES, of_table, page_of_weights
from assets.chain_alerts import told
from assets.challenges import OWNERS
from assets.weight_proposal import versions_said, weight_proposal
from loosh_pipeline.audit.epochs import epoch_tables
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.domain import Hotkey, Metagraph, Proposal, WeightPlan
from loosh_pipeline.errors import NotTheWriter, StoreError
from loosh_pipeline.policy.checks import total_variation, unmet
from loosh_pipeline.policy.ruled import normalised
from loosh_pipeline.proposing import gathered
from loosh_pipeline.scorers import paying_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.weighing import earned_at
from loosh_pipeline.store.weight_frames import weights_frame
from loosh_pipeline.weight_setting import RATE_LIMITED, set_weights, utc_now
from resources.store import Store, preview, written


@dg.asset(
    description=(
        "The proposal as weights, which decide what the chain pays miners: hotkeys resolved to uids at one block, put "
        "on record, signed by the hotkey and submitted. A row is one weight of one submission. Included is not yet "
        "observed: see weight_receipts."
    ),
    deps=[weight_proposal],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    tags=DECIDES_PAY | {REACHES: "chain"},
    metadata=of_table("weights"),
    code_version=f"3 {paying_version(get_settings())}",
)
def weights(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.MaterializeResult[None]:
    own_hotkey = chain.identity()
    try:
        with store.desk(chain, context.run.run_id) as desk:
            subnet = chain.snapshot(get_settings().netuid)
            store.save_metagraph(subnet)
            before = store.weight_ledger.recent(subnet.netuid, own_hotkey, genesis_hash=subnet.genesis_hash)
            said = set_weights(desk, subnet, own_hotkey, lambda: _proposed(store, subnet, own_hotkey))
    except NotTheWriter as error:
        return _skipped(context, NotYet("another_writer", str(error)))
    return _skipped(context, said) if isinstance(said, NotYet) else _told(context, store, said, before)


def _proposed(store: Store, subnet: Metagraph, own_hotkey: Hotkey) -> Proposal:
    """What is to be submitted, if every check holds for it still: `weights` can be materialized alone."""
    proposal = store.newest_proposal()
    if proposal is None:
        raise dg.Failure("no weights submitted: nothing was ever proposed; run the job set_weights")
    inputs = gathered(get_settings(), store.tables, store.inbox.engine, subnet, own_hotkey, utc_now())
    if failed := unmet(proposal, inputs):
        said = f"no weights submitted, the newest proposal does not pass: {'; '.join(failed)}"
        raise dg.Failure(said, allow_retries=False)
    return proposal


def _skipped(context: dg.AssetExecutionContext, not_yet: NotYet) -> dg.MaterializeResult[None]:
    context.log.info("no weights submitted: %s", not_yet.text)
    due = {} if not_yet.due_block is None else {"due_block": not_yet.due_block}
    return dg.MaterializeResult(metadata={"skipped": not_yet.text, "code": not_yet.code, **due, **page_of_weights()})


def _told(
    context: dg.AssetExecutionContext, store: Store, row: SubmissionRow, before: Sequence[SubmissionRow]
) -> dg.MaterializeResult[None]:
    table, plan = store.save_submission(row), row.plan
    if row.state is SubmissionState.NOT_DUE:
        return _skipped(context, NotYet(RATE_LIMITED, row.reason))
    if row.state is SubmissionState.REFUSED:
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
            **_moved(row, before),
            "scorer_versions": _versions(context, store, row),
            "dropped": dg.MetadataValue.json({str(hotkey): why for hotkey, why in plan.dropped.items()}),
            "weights": preview(shown, ["uid", "hotkey", "weight"]),
            **page_of_weights(row.id),
            **written(table),
        }
    )


def _moved(row: SubmissionRow, before: Sequence[SubmissionRow]) -> dict[str, float]:
    """Beside the last weights that the chain took: how much of all goes to others now, and how many blocks later."""
    last = next((each for each in before if each.taken), None)
    if last is None:
        return {}
    now, then = (_shares(each.plan) for each in (row, last))
    return {
        "total_variation": round(total_variation(now, then), 4),
        "blocks_since_last": row.plan.block - last.plan.block,
    }


def _shares(plan: WeightPlan) -> dict[Hotkey, float]:
    return normalised({plan.hotkeys[uid]: weight for uid, weight in plan.weights.items()})


def _versions(context: dg.AssetExecutionContext, store: Store, row: SubmissionRow) -> str:
    """By which versions the rounds behind these weights were scored. They are set by now: nothing here may fail."""
    try:
        emissions = epoch_tables(store.inbox.engine, store.tables, str(row.id)).emissions
        return "no emissions are kept" if emissions is None else versions_said(earned_at(store.tables, emissions))
    except StoreError as error:
        context.log.warning("which scorer versions are behind submission %d cannot be told: %s", row.id, error)
        return f"unknown: {error}"


@dg.asset_check(
    asset=weights, description="Weights are set in time, well before the chain's activity cutoff, and from here alone."
)
def weights_in_time(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> dg.AssetCheckResult:
    return told(store, chain, "weights")
