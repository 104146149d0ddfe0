"""The subnet at one block."""

import dagster as dg

from assets.about import DECIDES_PAY, REACHES, of_table
from assets.chain_alerts import told
from assets.challenges import OWNERS, READ_ONCE
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.settings import get_settings
from resources.store import Store, written


@dg.asset(
    description=(
        "The subnet at one block, as the chain says it: who is registered, where they serve, and the hyperparameters "
        "that weights must obey. A row is one neuron; each snapshot is a file of its own, and the newest one says whom "
        "challenges are put to and which uid a hotkey has. Taken again every METAGRAPH_REFRESH_S."
    ),
    group_name="chain",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    tags=DECIDES_PAY | {REACHES: "chain"},
    metadata=of_table("metagraph"),
    code_version="1",
)
def metagraph(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> dg.MaterializeResult[None]:
    snapshot = chain.snapshot(get_settings().netuid)
    table = store.save_metagraph(snapshot)
    return dg.MaterializeResult(
        data_version=READ_ONCE,
        metadata={
            "block": snapshot.block,
            "block_hash": snapshot.block_hash,
            "spec_version": snapshot.spec_version,
            "neurons": len(snapshot.neurons),
            "serving": sum(neuron.serves for neuron in snapshot.neurons),
            "validators": sum(neuron.validator_permit for neuron in snapshot.neurons),
            **written(table),
        },
    )


@dg.asset_check(
    asset=metagraph,
    description="Registered, with permit and stake, under the wallet's own keys, on a runtime that is known.",
)
def validator_in_order(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> dg.AssetCheckResult:
    return told(store, chain, "chain")
