"""Stored challenges scored again, a day at a time."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date

import dagster as dg

from assets.about import DECIDES_PAY, page_of
from assets.challenges import OWNERS
from assets.rescored_scores import GROUP, RescoreConfig, about, rescored_scores, rescoring, shown, warn
from loosh_pipeline.orchestrator import CHALLENGES, FIRST_RESCORED_DAY
from loosh_pipeline.rescoring.bulk import Rescored
from loosh_pipeline.rescoring.rounds import of_day
from loosh_pipeline.rescoring.summary import Summary
from resources.store import Store

LISTED_CHARS = 20_000
WARNINGS = 100
"""Of challenges by name; the others are counted and listed."""


@dg.asset(
    description=(
        "All stored challenges of a UTC day scored again: a summary, and a materialization of rescored_scores for each "
        "whose partition Dagster still has. Those that were pruned from it are scored alike. Rows go where those of "
        "rescored_scores do. `loosh rescore --since … --until …` asks for the same."
    ),
    partitions_def=dg.DailyPartitionsDefinition(FIRST_RESCORED_DAY, end_offset=1),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    tags=DECIDES_PAY,
    code_version="1",
)
def rescored_days(
    context: dg.AssetExecutionContext, config: RescoreConfig, store: dg.ResourceParam[Store]
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    profile, summary, started_s = config.wanted(), Summary(), time.monotonic()
    scorer = rescoring(profile, replace=config.replace)
    by = about(scorer)
    known = frozenset(context.instance.get_dynamic_partitions(CHALLENGES))
    told = 0
    stored = of_day(store.tables, store.inbox, date.fromisoformat(context.partition_key))
    with closing(stored), closing(scorer.run(stored)) as found:
        for each in found:
            summary.add(each)
            if summary.warned < WARNINGS:
                warn(context, each)
            if isinstance(each, Rescored) and each.id in known:
                told += 1
                yield dg.AssetMaterialization(
                    rescored_scores.key, partition=each.id, metadata=by | shown(each) | page_of(each.id)
                )
    lines = "\n".join(f"{each.name}: {each.reason}" for each in summary.unscorable)[:LISTED_CHARS]
    figures = {name: "none" if value is None else value for name, value in summary.figures().items()}
    seconds = round(time.monotonic() - started_s, 1)
    rest = {"shown_by_dagster": told, "unscorable_list": lines or "none", "seconds": seconds}
    yield dg.MaterializeResult(metadata=by | figures | rest)
