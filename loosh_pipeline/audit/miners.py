"""All miners of an epoch in a line each: what an operator looks at first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from loosh_pipeline.audit.epochs import EpochTables, snapshot_of
from loosh_pipeline.audit.naming import known_hotkeys
from loosh_pipeline.audit.rules_said import why_not_asked
from loosh_pipeline.audit.source_groups import SourceGroup, groups_of
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, OneSource, RuleAct
from loosh_pipeline.payouts import OUTCOMES
from loosh_pipeline.policy.filters import listed_validators, why_validator
from loosh_pipeline.policy.sybil import SYBIL
from loosh_pipeline.presence import there_of
from loosh_pipeline.store.frames import emissions_of
from loosh_pipeline.store.looks import looks_behind
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weigh_records import EMISSION_TERMS, PROPOSAL_INPUTS, UNPAID_ASKS, read_inputs, read_terms


@dataclass(frozen=True, slots=True)
class MinerLine:
    """One miner. `weight`: what was submitted; `acts`: rules that acted on it, with their reasons. `dropped`: why it
    has no weight though it was proposed; empty otherwise. `emission` is None for one that was not asked, and
    `not_asked` says why. `shares_with`: whose answers are taken for one source with its own, with their uids, the
    surest first. `rank`: 1 for the largest weight, equals share one; None without a weight. `outcomes`: how many of its
    asks were paid nothing, by why, the commonest first; empty where that is not kept. `group`: the name of the group of
    miners that count for one source with it.
    """

    hotkey: Hotkey
    uid: int | None
    weight: float
    emission: Emission | None
    acts: tuple[RuleAct, ...]
    dropped: str
    not_asked: str = ""
    shares_with: tuple[tuple[Hotkey, int | None], ...] = ()
    rank: int | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    group: str = ""

    @property
    def flagged(self) -> bool:
        """Whether it counts for one source with others, or lost something for being suspected."""
        return bool(self.group) or any(act.rule == SYBIL and act.after < act.before for act in self.acts)

    @property
    def unpaid(self) -> int:
        """Asks that it was paid nothing for."""
        return 0 if self.emission is None else self.emission.asked - self.emission.paid


@dataclass(frozen=True, slots=True)
class Miners:
    """The lines of an epoch, and everybody that it has something of with their uids, by which one may be meant."""

    lines: tuple[MinerLine, ...]
    uids: Mapping[Hotkey, int | None]
    groups: tuple[SourceGroup, ...] = ()


def miners_of_epoch(tables: Tables, where: EpochTables) -> Miners:
    """Who has a weight, was asked or was acted on, and every registered miner that serves or was looked for.

    The largest weight comes first. Raises StoreError for broken tables.
    """
    emissions, acts = _emissions(tables, where), _acts(tables, where)
    proposed = _proposed(tables, where)
    subnet = snapshot_of(tables, where.row)
    uids = known_hotkeys(where.row, [*emissions, *proposed], subnet)
    not_asked = {} if subnet is None else _not_asked(tables, where, subnet, emissions)
    sources, outcomes = _sources(tables, where), _outcomes(tables, where)
    lines = _lines(where, uids, emissions, acts, not_asked)
    groups = groups_of(sources, {each.hotkey: each.weight for each in lines})
    group = {hotkey: each.name for each in groups for hotkey in each.members}
    sharing = _sharing(sources)
    weights = sorted((each.weight for each in lines if each.weight), reverse=True)
    return Miners(
        tuple(
            replace(
                each,
                not_asked=not_asked.get(each.hotkey, ""),
                shares_with=tuple((other, uids.get(other)) for other in sharing.get(each.hotkey, ())),
                rank=1 + weights.index(each.weight) if each.weight else None,
                outcomes=outcomes.get(each.hotkey, {}),
                group=group.get(each.hotkey, ""),
            )
            for each in lines
        ),
        uids,
        groups,
    )


def _not_asked(
    tables: Tables, where: EpochTables, subnet: Metagraph, emissions: Mapping[Hotkey, Emission]
) -> dict[Hotkey, str]:
    """Why each registered miner that serves or was looked for was never asked, of those that were not."""
    own, key = where.row.hotkey, where.emissions
    others = [each for each in subnet.neurons if each.hotkey not in emissions and each.hotkey != own]
    if not others:
        return {}
    kept = where.proposal is not None and tables.exists(PROPOSAL_INPUTS, where.proposal)
    view = read_inputs(tables, where.proposal).view if kept and where.proposal is not None else None
    listed = listed_validators(view, subnet.taken_at)
    others = [each for each in others if not why_validator(each, listed)]
    if not others:  # looks of days are read for somebody alone
        return {}
    terms = None if key is None or not tables.exists(EMISSION_TERMS, key) else read_terms(tables, key)
    looks = None if terms is None else looks_behind(tables, terms)
    looked_for = frozenset(() if looks is None else looks.hotkeys)
    there = {} if looks is None else there_of(looks)
    return {
        each.hotkey: why_not_asked(each.hotkey, own, subnet, view, there.get(each.hotkey))
        for each in others
        if each.serves or each.hotkey in looked_for
    }


def _sources(tables: Tables, where: EpochTables) -> list[OneSource]:
    """Pairs that share their pay, the surest first."""
    key = where.emissions
    if key is None or not tables.exists("sources", key):
        return []
    rows = tables.read("sources", key).filter(pl.col("degree") > 0).sort("degree", descending=True)
    return [OneSource(**row) for row in rows.iter_rows(named=True)]


def _sharing(sources: Iterable[OneSource]) -> dict[Hotkey, list[Hotkey]]:
    """With whom each shares its pay."""
    found: dict[Hotkey, list[Hotkey]] = {}
    for each in sources:
        found.setdefault(each.first, []).append(each.second)
        found.setdefault(each.second, []).append(each.first)
    return found


def _outcomes(tables: Tables, where: EpochTables) -> dict[Hotkey, dict[str, int]]:
    """How many asks of each were paid nothing, by why; of nobody where an earlier release made the emissions."""
    key = where.emissions
    if key is None or not tables.exists(UNPAID_ASKS, key):
        return {}
    found: dict[Hotkey, dict[str, int]] = {}
    for hotkey, outcome, asks in tables.read(UNPAID_ASKS, key).select(*OUTCOMES).iter_rows():
        found.setdefault(Hotkey(hotkey), {})[outcome] = asks
    return found


def _lines(
    where: EpochTables,
    uids: Mapping[Hotkey, int | None],
    emissions: Mapping[Hotkey, Emission],
    acts: Mapping[Hotkey, Sequence[RuleAct]],
    others: Iterable[Hotkey],
) -> tuple[MinerLine, ...]:
    plan = where.row.plan
    weighed = {hotkey: uid for uid, hotkey in plan.hotkeys.items()}
    found = [
        MinerLine(
            hotkey=hotkey,
            uid=uids.get(hotkey),
            weight=plan.weights[weighed[hotkey]] if hotkey in weighed else 0.0,
            emission=emissions.get(hotkey),
            acts=tuple(acts.get(hotkey, ())),
            dropped=plan.dropped.get(hotkey, ""),
        )
        for hotkey in {*weighed, *emissions, *acts, *others} - {""}
    ]
    return tuple(sorted(found, key=lambda each: (-each.weight, -_earned(each), each.hotkey)))


def _earned(each: MinerLine) -> float:
    return 0.0 if each.emission is None else each.emission.emission


def _emissions(tables: Tables, where: EpochTables) -> Mapping[Hotkey, Emission]:
    if where.emissions is None:
        return {}
    return {each.hotkey: each for each in emissions_of(tables.read("emissions", where.emissions))}


def _proposed(tables: Tables, where: EpochTables) -> list[Hotkey]:
    if where.proposal is None:
        return []
    return [Hotkey(each) for each in tables.read("weight_proposals", where.proposal)["hotkey"].to_list()]


def _acts(tables: Tables, where: EpochTables) -> dict[Hotkey, list[RuleAct]]:
    found: dict[Hotkey, list[RuleAct]] = {}
    if where.proposal is not None:
        rows = tables.read("policy_acts", where.proposal).select("rule", "hotkey", "before", "after", "reason")
        for row in rows.iter_rows(named=True):
            found.setdefault(Hotkey(row["hotkey"]), []).append(RuleAct(**row))
    return found
