"""Whether the chain holds the weights that were set."""

import dagster as dg

from assets.about import DECIDES_PAY, REACHES, of_table, page_of_weights
from assets.chain_alerts import told
from assets.challenges import OWNERS
from assets.weights import weights
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.weight_frames import NOT_OURS, RECYCLED, receipts_frame
from loosh_pipeline.weight_setting import review, utc_now
from resources.store import Store, preview, run_key, written

NOTHING = "nothing was submitted yet"


@dg.asset(
    description=(
        "The chain's weight row of this validator, read back at its newest final block and compared with what was "
        "submitted: `included` until that block is final, `observed`, `committed` (to be revealed by the chain later), "
        "`unrevealed` when it was not, `missing`, `refused` by the chain in the first place, `expired` when it never "
        "got there, or `unknown` while that is not certain. A row is one slot that was planned or is on the chain; one "
        "whose slot changed hands since is `recycled`."
    ),
    deps=[weights],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    tags=DECIDES_PAY | {REACHES: "chain"},
    metadata=of_table("weight_receipts"),
    code_version="2",
)
def weight_receipts(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]
) -> dg.MaterializeResult[None]:
    submitted = store.submitted(get_settings().netuid, chain.identity())
    rows = [row for row in submitted if row.state is not SubmissionState.NOT_DUE]  # of that the chain holds nothing
    if not rows:
        return dg.MaterializeResult(metadata={"state": NOTHING})
    try:
        with store.desk(chain, context.run.run_id) as desk:
            row, observed = review(desk, rows)
    except NotTheWriter as error:
        return dg.MaterializeResult(metadata={"state": rows[0].state.value, "skipped": str(error)})
    now = utc_now()
    frame = receipts_frame(row, observed, now)
    table = store.tables.write("weight_receipts", run_key(now, context.run.run_id), frame)
    shown = frame.sort("planned", descending=True)
    return dg.MaterializeResult(
        metadata={
            "state": row.state.value,
            "reason": row.reason,
            "submission": row.id,
            "observed_block": observed.block,
            "last_update": observed.last_update,
            "recycled": frame.filter(frame["uid_state"] == RECYCLED).height,
            "not_ours": frame.filter(frame["uid_state"] == NOT_OURS).height,
            **page_of_weights(row.id),
            "receipts": preview(shown, ["uid", "hotkey", "planned", "observed", "uid_state"]),
            **written(table),
        }
    )


@dg.asset_check(
    asset=weight_receipts,
    description="The weights that were submitted are on the chain, committed to it, or in a block that will be final.",
)
def weights_on_chain(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> dg.AssetCheckResult:
    return told(store, chain, "receipts")
