"""What each miner is to have of all pay, after policy."""

from datetime import UTC, datetime

import dagster as dg

from assets.challenges import OWNERS
from assets.emissions import emissions, newest_emissions
from loosh_pipeline.domain import Block, Mode, Proposal
from loosh_pipeline.settings import get_settings
from resources.store import Store, run_key, written


@dg.asset(
    description="Emissions as shares of all pay, by hotkey, with every act of the policy recorded.",
    deps=[emissions],
    group_name="weights",
    owners=OWNERS,
    kinds={"parquet"},
    code_version="1",
)
def weight_proposal(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    now, earned, seen = datetime.now(UTC), newest_emissions(store), store.newest_metagraph()
    proposal = Proposal(
        made_at=now,
        block=Block(0) if seen is None else seen.block,
        mode=Mode.NORMAL,
        profile=get_settings().pay_profile,
        basis="lookback",
        rounds=0,
        shares={each.hotkey: each.weight for each in earned},
    )
    table = store.save_proposal(proposal, run_key(now, context.run.run_id))
    return dg.MaterializeResult(
        metadata={"mode": proposal.mode.value, "miners": len(proposal.shares), **written(table)}
    )
