"""Everything Dagster loads: assets and their checks, jobs, sensors and schedules, and what they work with."""

from __future__ import annotations

import dagster as dg

import assets
import sensors.present_challenges as presenting
from assets.about import with_code
from resources.chain import chain_resource, signer_resource
from resources.challenge_api import challenge_api_resource
from resources.duckdb import tables_duckdb
from resources.embedder import embedder_resource
from resources.llm import llm_resource
from resources.miners import miners_resource
from resources.store import store_resource
from sensors.availability_schedule import availability_schedule
from sensors.challenge_sensor import challenge_sensor
from sensors.context_schedule import context_schedule
from sensors.jobs import ASSET_JOBS
from sensors.metagraph_sensor import metagraph_sensor
from sensors.network_view_schedule import network_view_schedule
from sensors.outbox_sensor import outbox_sensor
from sensors.receipts_schedule import receipts_schedule
from sensors.retention_schedule import retention_schedule
from sensors.weights_schedule import weights_schedule

defs = dg.Definitions(
    assets=with_code(dg.load_assets_from_package_module(assets, include_specs=True)),
    asset_checks=dg.load_asset_checks_from_package_module(assets),
    jobs=[*ASSET_JOBS, *presenting.JOBS],
    sensors=[challenge_sensor, metagraph_sensor, outbox_sensor, *presenting.SENSORS],
    schedules=[
        *(weights_schedule, receipts_schedule, context_schedule),
        *(availability_schedule, network_view_schedule, retention_schedule),
    ],
    # One process a run: a run mostly waits for miners, and a process a step would cost seconds each.
    executor=dg.in_process_executor,
    resources={
        "store": store_resource,
        "chain": chain_resource,
        "signer": signer_resource,
        "miners": miners_resource,
        "embedder": embedder_resource,
        "llm": llm_resource,
        "challenge_api": challenge_api_resource,
        "duckdb": tables_duckdb(),
    },
)
