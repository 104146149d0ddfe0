"""What a round is compared with beyond itself."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.about import DECIDES_PAY, of_table
from assets.challenges import OWNERS, READ_ONCE
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.context_source import recent_context
from resources.store import Store, written

LATELY = timedelta(days=30)
"""Canaries that came since are known by their marks, scored or not; earlier ones by where their scores lie."""


@dg.asset(
    description=(
        "How common words are and what any answer sounds like, over the rounds of the last days. Append-only: a round "
        "is scored under the context of the moment its challenge came, and names its digest. One row a context, and a "
        "file of its own."
    ),
    group_name="context",
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("scoring_context"),
    code_version="1",
)
def scoring_context(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    now, rounds = datetime.now(UTC), get_settings().context_rounds
    # What the validator asks itself is no part of what it compares with.
    found = recent_context(store.tables, now, rounds, store.canaries.keys_since(now - LATELY))
    if found is None:
        return dg.MaterializeResult(
            data_version=READ_ONCE, metadata={"rounds": 0, "built": "not yet: no round has been embedded"}
        )
    built, model_digest = found
    # Dated when it is done: no challenge that came before it lay in its place is given it when scored again.
    table = store.score_tables.write_context(built, model_digest, datetime.now(UTC), context.run.run_id)
    return dg.MaterializeResult(
        data_version=READ_ONCE,
        metadata={
            "rounds": built.rounds,
            "words": len(built.document_frequency),
            "digest": built.digest,
            "model_digest": model_digest,
            **written(table),
        },
    )
