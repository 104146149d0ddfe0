"""The vectors of a round."""

import time

import dagster as dg

from assets.about import DECIDES_PAY, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.miner_responses import miner_responses
from loosh_pipeline.embedding.port import Embedder
from loosh_pipeline.embedding.round_vectors import embed_round
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.vector_frames import to_frame
from resources.store import Store, written_of_one


@dg.asset(
    description=(
        "What the texts of a round mean, as vectors: the prompt, windows of at most 90 words and sentences of every "
        "answer, and what the network's method reads besides. Embedded once in one pass, so that scoring again later "
        "gives the same figures. A row is the vector of one text, float16, with the model's digest; one file a "
        "challenge."
    ),
    deps=[miner_responses],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "huggingface", "parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("embeddings"),
    code_version=f"2 {get_settings().embedding_model}",
)
def embeddings(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], embedder: dg.ResourceParam[Embedder]
) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    started_s = time.monotonic()
    vectors = embed_round(embedder, partition.row.id, partition.challenge.prompt, store.responses(partition))
    embed_s = round(time.monotonic() - started_s, 3)
    table = store.tables.write("embeddings", partition.key, to_frame(vectors))
    return dg.MaterializeResult(
        metadata={
            "embed_s": embed_s,
            "model_digest": vectors.model_digest,
            **page_of(partition.row.id),
            **written_of_one(table),
        }
    )
