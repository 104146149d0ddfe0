"""What was taken over from an existing validator."""

import dagster as dg

from assets.about import DECIDES_PAY, of_table
from assets.challenges import OWNERS
from loosh_pipeline.store.imported import IMPORTED_EMISSIONS

imported_emissions = dg.AssetSpec(
    IMPORTED_EMISSIONS,
    description=(
        "What evaluations of an existing validator paid each hotkey, with the sha256 of the file that said so, as "
        "`loosh import-validator` read it. In the first hours after a switch weights are made of them."
    ),
    group_name="intake",
    owners=OWNERS,
    kinds={"parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("imported_emissions"),
)
