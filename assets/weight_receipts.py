"""Whether the chain holds the weights that were set."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.challenges import OWNERS
from assets.weights import weights
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import ObservedWeights, WeightPlan
from loosh_pipeline.store.frames import PENDING, plan_of, receipts_frame
from resources.store import Store, preview, run_key, written

OBSERVED = "observed"
COMMITTED = "committed"
MISSING = "missing"
REFUSED = "refused"
UNKNOWN = "unknown"
NOTHING = "nothing was submitted yet"


@dg.asset(
    description=(
        "The chain's weight row of this validator, read back and compared with what was submitted: `observed`, "
        "`committed` (to be revealed by the chain later), `missing`, `refused` by the chain in the first place, or "
        "`unknown` when a submission broke off and the row does not show it."
    ),
    deps=[weights],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    code_version="1",
)
def weight_receipts(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.MaterializeResult[None]:
    submitted = store.tables.latest("weights")
    if submitted is None or submitted.is_empty():
        return dg.MaterializeResult(metadata={"state": NOTHING})
    plan = plan_of(submitted)
    observed = chain.observe(plan.netuid, chain.identity())
    state = _state(plan, observed, submitted.row(0, named=True))
    now = datetime.now(UTC)
    frame = receipts_frame(plan, observed, state, now)
    table = store.tables.write("weight_receipts", run_key(now, context.run.run_id), frame)
    return dg.MaterializeResult(
        metadata={
            "state": state,
            "observed_block": observed.block,
            "last_update": observed.last_update,
            "receipts": preview(frame.sort("planned", descending=True), ["uid", "hotkey", "planned", "observed"]),
            **written(table),
        }
    )


def _state(plan: WeightPlan, observed: ObservedWeights, submission: Mapping[str, Any]) -> str:
    lost = submission["error_code"] == PENDING
    if not submission["success"] and not lost:
        return REFUSED
    if matches(plan, observed):
        return OBSERVED
    if lost:
        return UNKNOWN
    return COMMITTED if submission["commit_reveal"] else MISSING


@dg.asset_check(
    asset=weight_receipts, description="The weights that were submitted are on the chain, or committed to it."
)
def weights_on_chain(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
    receipts = store.tables.latest("weight_receipts")
    state = NOTHING if receipts is None else receipts["state"][0]
    return dg.AssetCheckResult(passed=state in (OBSERVED, COMMITTED, NOTHING), metadata={"state": state})
