"""Which miners say that they are there."""

from collections import Counter
from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_PAY, REACHES, of_table
from assets.challenges import OWNERS, READ_ONCE
from assets.metagraph import metagraph
from loosh_pipeline.domain import AvailabilityTable, Hotkey
from loosh_pipeline.store.asking_frames import availability_frame
from loosh_pipeline.wire.crypto import Signer
from resources.miners import Miners
from resources.store import Store, preview, written

PREVIEW = ["uid", "hotkey", "available", "reason", "latency_ms"]


@dg.asset(
    description=(
        "What every serving neuron answers when it is asked whether it is available. Challenges are put to those that "
        "say so, and who never does earns less. A row is one miner that was looked for, a file each time. It proves "
        "nothing: a miner is active when it has answered a challenge."
    ),
    deps=[metagraph],
    group_name="availability",
    owners=OWNERS,
    kinds={"python", "http", "parquet"},
    tags=DECIDES_PAY | {REACHES: "miners"},
    metadata=of_table("miner_availability"),
    code_version="1",
)
def miner_availability(
    store: dg.ResourceParam[Store], miners: dg.ResourceParam[Miners], signer: dg.ResourceParam[Signer]
) -> dg.MaterializeResult[None]:
    subnet = store.newest_metagraph()
    own = Hotkey(signer.ss58_address)
    serving = [] if subnet is None else [one for one in subnet.neurons if one.serves and one.hotkey != own]
    if not serving:
        return dg.MaterializeResult(data_version=READ_ONCE, metadata={"looked_for": 0, "available": 0})
    taken_at = datetime.now(UTC)
    rows = miners.probe(serving, signer)
    table = AvailabilityTable(taken_at, rows)
    reasons = Counter(row.reason.partition(": ")[0] for row in rows if not row.available)
    return dg.MaterializeResult(
        data_version=READ_ONCE,
        metadata={
            "looked_for": len(rows),
            "available": sum(row.available for row in rows),
            "reasons": dict(reasons.most_common(10)),
            "neurons": preview(availability_frame(table), PREVIEW),
            **written(store.save_availability(table)),
        },
    )
