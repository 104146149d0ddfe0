"""Who copies whom, beyond doubt."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_duckdb import DuckDBResource

from assets.about import DECIDES_NOTHING, of_table, page_of_miners
from assets.challenges import OWNERS
from assets.emissions import emissions
from loosh_pipeline.copying import copy_evidence
from loosh_pipeline.delivery import by_digest
from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_frames import accusations_frame
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.reports import build_sybil_reports
from resources.store import Store, preview, run_key, written

PREVIEW = ["first", "second", "rounds", "wording", "mean_wording", "same_address", "same_coldkey"]


@dg.asset(
    description=(
        "Pairs of identities whose answers are worded alike over so many rounds that no honest pair ever measured was, "
        "with the record of it in the network's shape, which the Challenge API is told. A row is one accused pair; a "
        "run without any writes an empty table. It takes no pay: sharing one vote and one pay does that."
    ),
    deps=[emissions],
    group_name="weights",
    owners=OWNERS,
    kinds={"python", "duckdb", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("accusations"),
    code_version="2",
    op_tags={"dagster/priority": "-10"},  # after weights, which must not wait for it
)
def accusations(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    duckdb: DuckDBResource,
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    settings, now = get_settings(), datetime.now(UTC)
    since = now - timedelta(hours=settings.emissions_lookback_h)
    with duckdb.get_connection() as connection:
        window = store.score_tables.window_rows(connection, paying_profile(settings), since)
    found = copy_evidence(store.tables, window, Hotkey(signer.ss58_address))
    report = None if found.report is None else json.dumps(found.report, ensure_ascii=False)
    frame = accusations_frame(found.accusations, report)
    table = store.tables.write("accusations", run_key(now, context.run.run_id), frame)
    told = by_digest(build_sybil_reports([] if found.report is None else [found.report]))
    new = store.outbox.keep_reports(DeliveryKind.SYBIL_REPORT, told, now) if told else 0
    return dg.MaterializeResult(
        metadata={
            "rounds": window.scores["challenge_id"].n_unique() - len(found.left_out),
            "left_out": len(found.left_out),
            "pairs": len(found.pairs),
            "accused": len(found.accusations),
            "reports_to_tell": new,
            "groups": 0 if found.report is None else found.report["suspicious_groups_count"],
            "accusations": preview(frame, PREVIEW),
            **page_of_miners(),
            **written(table),
        }
    )
