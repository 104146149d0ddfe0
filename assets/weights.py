"""Weights, set on the chain."""

from datetime import UTC, datetime

import dagster as dg

from assets.challenges import OWNERS
from assets.weight_proposal import weight_proposal
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.weights import plan_weights, unsettled, weights_due
from loosh_pipeline.domain import Hotkey, Metagraph, Proposal
from loosh_pipeline.policy.checks import unmet
from loosh_pipeline.proposing import gathered
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import PENDING, pending, plan_of, weights_frame
from resources.store import Store, preview, run_key, written


@dg.asset(
    description=(
        "The proposal as weights: hotkeys resolved to uids at one block, signed by the hotkey and submitted. "
        "Included is not yet observed: see weight_receipts."
    ),
    deps=[weight_proposal],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    code_version="1",
)
def weights(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.MaterializeResult[None]:
    subnet = chain.snapshot(get_settings().netuid)
    store.save_metagraph(subnet)
    own_hotkey = chain.identity()
    # The interval is the schedule's concern; the chain's own rules hold for whoever asks.
    reason = weights_due(subnet, own_hotkey, interval_blocks=0) or _unsettled(store, subnet, own_hotkey)
    if reason is not None:
        context.log.info("no weights submitted: %s", reason)
        return dg.MaterializeResult(metadata={"skipped": reason, "block": subnet.block})
    proposal = _must_hold(store, subnet, own_hotkey)
    plan = plan_weights(proposal.shares, subnet, own_hotkey)
    now = datetime.now(UTC)
    key = run_key(now, context.run.run_id)
    # On disk before it is on its way: whatever dies now, the plan is known and not followed by a second one.
    store.tables.write("weights", key, weights_frame(plan, pending(subnet), now))
    submission = chain.submit_weights(plan)
    frame = weights_frame(plan, submission, now)
    table = store.tables.write("weights", key, frame)
    if not submission.success:
        raise dg.Failure(
            f"the chain refused the weights: {submission.error_code}: {submission.error}",
            metadata=written(table),
            allow_retries=False,  # the schedule tries again after reading the chain; never blindly
        )
    return dg.MaterializeResult(
        metadata={
            "planned_at_block": plan.block,
            "included_block": submission.included_block or "unknown",
            "extrinsic_hash": submission.extrinsic_hash or "unknown",
            "commit_reveal": submission.commit_reveal,
            "miners": len(plan.weights),
            "dropped": dg.MetadataValue.json({str(hotkey): why for hotkey, why in plan.dropped.items()}),
            "weights": preview(frame.sort("weight", descending=True), ["uid", "hotkey", "weight"]),
            **written(table),
        }
    )


def _unsettled(store: Store, subnet: Metagraph, own_hotkey: Hotkey) -> str | None:
    """Why the last plan must be waited for; None when its outcome is known."""
    last = store.tables.latest("weights")
    if last is None or last["error_code"][0] != PENDING:
        return None
    return unsettled(plan_of(last).block, subnet, own_hotkey)


def _must_hold(store: Store, subnet: Metagraph, own_hotkey: Hotkey) -> Proposal:
    """The blocking checks again, on the very proposal that is submitted: `weights` can be materialized alone."""
    proposal, now = store.newest_proposal(), datetime.now(UTC)
    if proposal is None:
        raise dg.Failure("no weights submitted: nothing was ever proposed; run the job set_weights")
    inputs = gathered(get_settings(), store.tables, store.inbox.engine, subnet, own_hotkey, now)
    if failed := unmet(proposal, inputs):
        said = f"no weights submitted, the newest proposal does not pass: {'; '.join(failed)}"
        raise dg.Failure(said, allow_retries=False)
    return proposal
