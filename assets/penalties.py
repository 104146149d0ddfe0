"""Whom the weights that were set took pay from for being suspected."""

from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_NOTHING, page_of_miners
from assets.challenges import OWNERS
from assets.weights import weights
from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.penalties import last_set_proposal, penalties_of
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.reports import build_penalty_report
from resources.store import Store

NOTHING = "no weights were set yet"


@dg.asset(
    description=(
        "Whom the last weights that the chain took cost a part of its share for its sybil score. The Challenge API is "
        "told once for each proposal that was set, however often this runs. What it is told waits in the outbox; what "
        "the policy did stands in the table `policy_acts`."
    ),
    deps=[weights],
    group_name="weights",
    owners=OWNERS,
    kinds={"python", "http"},
    tags=DECIDES_NOTHING,
    code_version="1",
    op_tags={"dagster/priority": "-10"},  # after receipts, which must not wait for it
)
def penalties(store: dg.ResourceParam[Store], signer: dg.ResourceParam[Signer]) -> dg.MaterializeResult[None]:
    found = last_set_proposal(store.tables)
    if found is None:
        return dg.MaterializeResult(metadata={"state": NOTHING})
    struck = penalties_of(found.proposal, store.newest_metagraph(), store.tables)
    new = 0
    if struck:
        report = build_penalty_report(Hotkey(signer.ss58_address), struck, found.set_at)
        kept = {found.key: encode_json(report)}
        new = store.outbox.keep_reports(DeliveryKind.PENALTY_REPORT, kept, datetime.now(UTC))
    return dg.MaterializeResult(
        metadata={
            "proposal": found.key,
            "penalised": len(struck),
            **page_of_miners(),
            "reports_to_tell": new,
            "penalties": dg.MetadataValue.json([f"{each.miner} {each.type} {each.sybil_score}" for each in struck]),
        }
    )
