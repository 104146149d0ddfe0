"""All miners of an epoch in a line each: what an operator looks at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loosh_pipeline.audit.epochs import EpochTables, snapshot_of
from loosh_pipeline.audit.naming import known_hotkeys
from loosh_pipeline.domain import Emission, Hotkey
from loosh_pipeline.store.frames import emissions_of
from loosh_pipeline.store.tables import Tables


@dataclass(frozen=True, slots=True)
class MinerLine:
    """One miner. `weight`: what was submitted; `acts`: rules that acted on it, with their reasons. `dropped`: why it
    has no weight though it was proposed; empty otherwise. `emission` is None for one that was not asked.
    """

    hotkey: Hotkey
    uid: int | None
    weight: float
    emission: Emission | None
    acts: tuple[tuple[str, str], ...]
    dropped: str


@dataclass(frozen=True, slots=True)
class Miners:
    """The lines of an epoch, and everybody that it has something of with their uids, by which one may be meant."""

    lines: tuple[MinerLine, ...]
    uids: Mapping[Hotkey, int | None]


def miners_of_epoch(tables: Tables, where: EpochTables) -> Miners:
    """Who has a weight, was asked or was acted on, the largest weight first. Raises StoreError for broken tables."""
    emissions, acts = _emissions(tables, where), _acts(tables, where)
    proposed = _proposed(tables, where)
    uids = known_hotkeys(where.row, [*emissions, *proposed], snapshot_of(tables, where.row))
    return Miners(_lines(where, uids, emissions, acts), uids)


def _lines(
    where: EpochTables,
    uids: Mapping[Hotkey, int | None],
    emissions: Mapping[Hotkey, Emission],
    acts: Mapping[Hotkey, Sequence[tuple[str, str]]],
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
        for hotkey in {*weighed, *emissions, *acts} - {""}
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


def _acts(tables: Tables, where: EpochTables) -> dict[Hotkey, list[tuple[str, str]]]:
    found: dict[Hotkey, list[tuple[str, str]]] = {}
    if where.proposal is not None:
        rows = tables.read("policy_acts", where.proposal).select("hotkey", "rule", "reason")
        for hotkey, rule, reason in rows.iter_rows():
            found.setdefault(Hotkey(hotkey), []).append((rule, reason))
    return found
