"""What each miner is to have of all pay, after policy, and whether that may be set."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from assets.about import DECIDES_PAY, REACHES, of_table, page_of_miners
from assets.challenges import OWNERS
from assets.emissions import emissions
from assets.imported_emissions import imported_emissions
from assets.network_view import network_view
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.domain import Metagraph, Proposal
from loosh_pipeline.policy.checks import CHECKS, WAIVABLE, judged, waivers
from loosh_pipeline.policy.inputs import Earned
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.proposing import gathered
from loosh_pipeline.scorers import paying_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import policy_acts_frame, proposal_frame
from loosh_pipeline.store.weigh_records import write_inputs
from resources.store import Store, preview, run_key, written

READABLE_CHARS = 160
"""Room for a reason in full: of the acts of a policy that is what one comes for."""


class Waivers(dg.Config):
    """What an operator waives for one run."""

    waive: list[str] = Field([], description=f"checks to be waived in this run: {', '.join(WAIVABLE)}")


@dg.asset(
    description=(
        "Emissions as shares of all pay, by hotkey, after policy: who may be paid, what suspected sybils lose, how "
        "much one entity and one miner may get, what is burnt. A row is one miner that was considered, in the table "
        "`weight_proposals`; every act of a rule is a row of `policy_acts`. Weights are set only if its checks pass. "
        "docs/weights.md says what each rule is for."
    ),
    deps=[emissions, network_view, imported_emissions],
    group_name="weights",
    owners=OWNERS,
    kinds={"bittensor", "parquet"},
    tags=DECIDES_PAY | {REACHES: "chain"},
    metadata=of_table("weight_proposals"),
    code_version=f"4 {paying_version(get_settings())}",
)
def weight_proposal(
    context: dg.AssetExecutionContext,
    config: Waivers,
    store: dg.ResourceParam[Store],
    chain: dg.ResourceParam[Chain],
) -> dg.MaterializeResult[None]:
    settings, waived = get_settings(), waivers(config.waive)
    subnet, own = chain.snapshot(settings.netuid), chain.identity()
    store.save_metagraph(subnet)
    now = datetime.now(UTC)
    inputs = gathered(settings, store.tables, store.inbox.engine, subnet, own, now, waived)
    proposal, key = propose(inputs), run_key(now, context.run.run_id)
    write_inputs(store.tables, key, inputs)
    table = store.save_proposal(proposal, key)
    about = {**_shown(proposal, subnet), "scorer_versions": versions_said(inputs.earned)}
    return dg.MaterializeResult(metadata={**about, **page_of_miners(), **written(table)})


def versions_said(earned: Earned) -> str:
    """Which scorer versions the rounds of emissions were scored by, and how many each."""
    return ", ".join(f"{version} ({rounds} rounds)" for version, rounds in earned.versions.items()) or "no round"


def _shown(proposal: Proposal, subnet: Metagraph) -> dict[str, Any]:
    shares = proposal_frame(proposal).sort("share", descending=True)
    return {
        "mode": proposal.mode.value,
        "basis": proposal.basis,
        "block": subnet.block,
        "rounds": proposal.rounds,
        "paid": sum(share > 0 for share in proposal.shares.values()),
        "top_share": round(max(proposal.shares.values(), default=0.0), 4),
        "waived": ", ".join(proposal.overrides) or "none",
        "acts": preview(policy_acts_frame(proposal), ["rule", "hotkey", "before", "after", "reason"], READABLE_CHARS),
        "shares": preview(shares, ["hotkey", "share"]),
    }


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=weight_proposal, blocking=True, description=(check.__doc__ or "").strip() or None)
        for name, check in CHECKS.items()
    ]
)
def proposal_checks(store: dg.ResourceParam[Store], chain: dg.ResourceParam[Chain]) -> Iterator[dg.AssetCheckResult]:
    """Weights are set only when every one of these holds, or is waived."""
    proposal, subnet = store.newest_proposal(), store.newest_metagraph()
    if proposal is None or subnet is None:
        raise dg.Failure("nothing was proposed yet; materialize weight_proposal first", allow_retries=False)
    now = datetime.now(UTC)
    inputs = gathered(get_settings(), store.tables, store.inbox.engine, subnet, chain.identity(), now)
    for found in judged(proposal, inputs):
        yield dg.AssetCheckResult(
            check_name=found.name,
            asset_key="weight_proposal",
            passed=found.passed,
            severity=dg.AssetCheckSeverity.ERROR if found.blocks else dg.AssetCheckSeverity.WARN,
            metadata={"reason": found.reason},
        )
