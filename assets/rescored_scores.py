"""Stored challenges scored again, one by one."""

from contextlib import closing
from typing import Any

import dagster as dg
from pydantic import Field

from assets.about import DECIDES_PAY, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.embeddings import embeddings
from assets.miner_responses import miner_responses
from assets.scoring_context import scoring_context
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.rounds import AT_ONCE, Unscorable, of_challenges
from loosh_pipeline.rescoring.summary import Summary
from loosh_pipeline.rescoring.wanted import wanted_profile
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.settings import get_settings
from resources.store import Store

GROUP = "rescoring"


class RescoreConfig(dg.Config):
    """By which scorer; as it stands, by the one that pays."""

    profile: str = Field("", description="robust or network; empty: the one that pays")
    parameters: dict[str, Any] = Field(
        {}, description="parameters of the profile to try, by name; without any, today's. What is tried never pays."
    )
    replace: bool = Field(
        False, description="write over stored rows of the same scorer version that say otherwise, be they what paid"
    )

    def wanted(self) -> ScoringProfile:
        """Raises ConfigError for a profile or a parameter that does not exist, or a value that cannot be."""
        return wanted_profile(self.profile or get_settings().pay_profile, self.parameters)


@dg.asset(
    description=(
        "A stored challenge scored again under today's parameters or others, and what that changes beside what paid. "
        "No miner is asked and nothing is embedded. Rows that are missing go to consensus_scores, those that are there "
        "stay; what is tried, with other parameters or by a profile that does not run here, goes to tried_scores. A "
        "row is one miner asked."
    ),
    deps=[miner_responses, embeddings, scoring_context],
    partitions_def=challenge_partitions,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("consensus_scores"),
    code_version="1",
)
def rescored_scores(
    context: dg.AssetExecutionContext, config: RescoreConfig, store: dg.ResourceParam[Store]
) -> dg.MaterializeResult[None]:
    summary = Summary()
    ids = context.partition_keys if context.has_partition_key_range else [context.partition_key]
    scorer = rescoring(config.wanted(), len(ids), replace=config.replace)
    stored = of_challenges(store.tables, store.inbox, ids)
    with closing(stored), closing(scorer.run(stored)) as found:
        for each in found:
            summary.add(each)
            warn(context, each)
            name = each.name if isinstance(each, Unscorable) else each.id
            context.add_asset_metadata(shown(each) | page_of(name), partition_key=name if len(ids) > 1 else None)
    return dg.MaterializeResult(metadata=about(scorer) | ({} if len(ids) == 1 else {"all": summary.figures()}))


# A range is one run. Given to the decorator, Dagster would warn at each start that this is a beta feature.
rescored_scores = rescored_scores.with_attributes(backfill_policy=dg.BackfillPolicy.single_run())


def rescoring(profile: ScoringProfile, count: int | None = None, *, replace: bool = False) -> Rescoring:
    """With processes of its own unless few are to be scored."""
    settings = get_settings()
    processes = 0 if count is not None and count <= AT_ONCE else None
    paying = paying_profile(settings)
    return Rescoring(settings.tables_root, profile, paying, processes, settings.scoring_profiles, replace)


def warn(context: dg.AssetExecutionContext, each: Rescored | Unscorable) -> None:
    """Of what an operator should look at."""
    if isinstance(each, Unscorable):
        context.log.warning("%s cannot be scored: %s", each.name, each.reason)
        return
    if each.remark:
        context.log.warning("%s is compared with nothing that cannot be read: %s", each.id, each.remark)
    if each.differs:
        done = "written over, as replace is set" if each.written else "kept; set replace to write over them"
        context.log.warning(
            "%s: stored rows of version %s differ in %s: %s",
            each.id, each.scorer_version, ", ".join(each.differs), done,
        )  # fmt: skip


def about(scorer: Rescoring) -> dict[str, Any]:
    """By what was scored, for the page of an asset."""
    profile = scorer.profile
    default = type(profile)()
    names = profile.__dataclass_fields__
    changed = {name: value for name in names if (value := getattr(profile, name)) != getattr(default, name)}
    return {
        "profile": profile.name,
        "parameters": ", ".join(f"{name}={value:g}" for name, value in changed.items()) or "today's",
        "counts_for_pay": "never: it is tried" if scorer.tried else "as a scoring by today's parameters does",
    }


def shown(each: Rescored | Unscorable) -> dict[str, Any]:
    """What the page of a challenge's partition shows."""
    if isinstance(each, Unscorable):
        return {"unscorable": each.reason}
    found: dict[str, Any] = {
        "scorer_version": each.scorer_version,
        "context_digest": each.context_digest,
        "asked": each.asked,
        "scored": each.scored,
        "paid": each.paid,
        "written": _written(each),
        "against": each.against or "nothing that paid",
    }
    if each.differs:
        found["differs"] = ", ".join(each.differs)
    if each.remark:
        found["unreadable_scores"] = each.remark
    if each.move is not None:
        ranks = each.move.rank_correlation
        found |= {"round_pay_moved": each.move.moved, "round_payout_move_mean": each.move.mean_move}
        found["rank_correlation"] = "all alike" if ranks is None else ranks
    return found


def _written(each: Rescored) -> str:
    if each.written:
        return "yes: stored rows that differed were written over" if each.differs else "yes"
    if each.differs:
        return "no: the stored rows of this version differ, and stay"
    return "no: what is stored cannot be read" if each.remark else "no: these rows were there"
