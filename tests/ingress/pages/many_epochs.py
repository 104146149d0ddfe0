"""A validator of a full subnet that set weights for months: its ledger and its tables, without any round."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import Connection, insert

from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import (
    Availability,
    AvailabilityTable,
    Block,
    Coldkey,
    Emission,
    Hotkey,
    Metagraph,
    Mode,
    Neuron,
    OneSource,
    Outcome,
    Uid,
)
from loosh_pipeline.emissions import EmissionRule, Terms
from loosh_pipeline.payouts import COUNTED, OUTCOMES
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.store.asking_frames import availability_frame
from loosh_pipeline.store.frames import (
    emissions_frame,
    metagraph_frame,
    policy_acts_frame,
    proposal_frame,
    sources_frame,
)
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import submissions
from loosh_pipeline.store.submissions import _as_json
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, UNPAID_ASKS, write_inputs, write_terms

MINERS = 256
APART = timedelta(minutes=72)
"""Between two settings of weights: 20 a day."""
LOOKS_APART = timedelta(minutes=2)
OWN = Hotkey("5Own" + "o" * 44)


def hotkey_of(uid: int) -> Hotkey:
    return Hotkey(f"5{uid * 7919 % 100_003:05d}" + "Hk" * 21)


def subnet_at(at: datetime, block: int) -> Metagraph:
    """Every sixteenth serves at no address."""
    own = Neuron(Uid(MINERS), OWN, Coldkey("5Owner"), None, 0, True, 10_000.0, Block(block - 300), Block(1))
    miners = tuple(
        Neuron(
            Uid(uid), hotkey_of(uid), Coldkey(f"5Cold{uid:043d}"),
            None if uid % 16 == 15 else f"11.0.0.{uid % 250 + 1}", 9000, False, 1.0, Block(0), Block(0),
        )
        for uid in range(MINERS)
    )  # fmt: skip
    return Metagraph(
        netuid=78, block=Block(block), block_hash="0x" + "ab" * 32, spec_version=461, taken_at=at, tempo_blocks=360,
        activity_cutoff_blocks=5_000, weights_rate_limit_blocks=100, min_allowed_weights=1, weights_version_key=0,
        commit_reveal=False, neurons=(*miners, own), genesis_hash="0x" + "cd" * 32,
    )  # fmt: skip


def emissions_at(chance: random.Random) -> tuple[Emission, ...]:
    """Of all who serve but every tenth, some of whom failed sometimes."""
    found = []
    for uid in range(MINERS):
        if uid % 16 == 15 or uid % 10 == 9:
            continue
        asked, failed = chance.randint(15, 40), chance.randint(0, 6)
        mean, ramp, coverage = chance.uniform(0.2, 1.6), chance.uniform(0.7, 1.0), chance.uniform(0.9, 1.0)
        paid = asked - failed
        found.append((uid, asked, paid, mean * paid / asked, ramp, coverage))
    total = sum(mean * ramp * coverage for *_, mean, ramp, coverage in found)
    return tuple(
        Emission(
            hotkey_of(uid), asked, paid, paid, mean, mean * ramp * coverage, mean * ramp * coverage / total, None,
            10.0 * ramp, ramp, coverage,
        )
        for uid, asked, paid, mean, ramp, coverage in found
    )  # fmt: skip


def fill(inbox: Inbox, tables: Tables, epochs: int, until: datetime, *, looks_h: float = 24.0) -> None:
    """So many epochs, the last just before `until`, and the looks behind it."""
    chance = random.Random(78)
    with inbox.engine.begin() as connection:
        for number in range(epochs):
            at = until - (epochs - number) * APART
            _epoch(connection, tables, at, 10_000 + 360 * number, chance)
    for number in range(int(timedelta(hours=looks_h) / LOOKS_APART)):
        _look(tables, until - APART - number * LOOKS_APART, chance)


def _look(tables: Tables, at: datetime, chance: random.Random) -> None:
    there = (
        Availability(hotkey_of(uid), Uid(uid), "11.0.0.1", 9000, chance.random() < 0.97, "", 5.0)
        for uid in range(MINERS)
        if uid % 16 != 15
    )
    table = availability_frame(AvailabilityTable(at, tuple(there)))
    tables.write("miner_availability", TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-look", at), table)


def _epoch(connection: Connection, tables: Tables, at: datetime, block: int, chance: random.Random) -> None:
    subnet, emissions = subnet_at(at, block), emissions_at(chance)
    sources = tuple(
        OneSource(hotkey_of(uid), hotkey_of(uid + 1), 20, 0.9, same_address=False, same_coldkey=False)
        for uid in range(0, 240, 8)
    )
    made = at - timedelta(seconds=20)
    key = TableKey.of(f"{made:%Y%m%dT%H%M%S%f}-abcdef01", made)
    _earned(tables, key, made, emissions, sources)
    earned = Earned(made, 24.0, 1000, emissions, sources, {}, f"{key.day}/{key.name}")
    inputs = Inputs(made, "robust", subnet, OWN, earned, known=frozenset(each.hotkey for each in emissions))
    proposal = propose(inputs)
    write_inputs(tables, key, inputs)
    tables.write("policy_acts", key, policy_acts_frame(proposal))
    tables.write("weight_proposals", key, proposal_frame(proposal))
    tables.write("metagraph", TableKey.of(f"{made:%Y%m%dT%H%M%S%f}-{block}", made), metagraph_frame(subnet))
    plan = plan_weights(proposal.shares, subnet, OWN)
    row: dict[str, Any] = {
        "netuid": 78, "hotkey": OWN, "genesis_hash": subnet.genesis_hash, "block": block, "digest": plan_digest(plan),
        "plan": _as_json(plan), "state": "observed", "reason": "the chain's row is what was submitted",
        "commit_reveal": False, "spec_version": 461, "reveal_period_epochs": 0, "fence": 1, "created_at": at,
        "changed_at": at, "seen_block": block + 3, "seen_at": at, "included_block": block + 1,
        "extrinsic_hash": "0x" + "ef" * 32, "dies_at": block + 64,
    }  # fmt: skip
    connection.execute(insert(submissions).values(row))


def _earned(
    tables: Tables, key: TableKey, at: datetime, emissions: Sequence[Emission], sources: Sequence[OneSource]
) -> None:
    terms = Terms("robust", {}, at, at - timedelta(hours=24), 24.0, Mode.NORMAL, EmissionRule(), 1000, at)
    answered = {each.hotkey: each.answered / each.asked for each in emissions}
    frame = emissions_frame(emissions, "robust", 1000, answered, made_at=at, lookback_h=24.0, versions={})
    tables.write("emissions", key, frame)
    tables.write("sources", key, sources_frame(sources))
    write_terms(tables, key, terms)
    unpaid = [
        (each.hotkey, Outcome.TIMEOUT.value, each.asked - each.paid) for each in emissions if each.asked > each.paid
    ]
    tables.write(UNPAID_ASKS, key, pl.DataFrame(unpaid, schema=OUTCOMES, orient="row"))
    rounds = [(f"c-{n}", "v", at - timedelta(minutes=1.4 * n), False) for n in range(1000)]
    tables.write(COUNTED_ROUNDS, key, pl.DataFrame(rounds, schema=COUNTED, orient="row"))
    settled = [
        (f"c-{n}", each.hotkey, 1.0 if k % 3 else 0.5, each.mean_payout)
        for n in range(1000)
        for k, each in enumerate(emissions[n % 30 :: 30])
    ]
    schema = {"challenge_id": pl.String, "hotkey": pl.String, "share": pl.Float64, "payout": pl.Float64}
    tables.write("settled_scores", key, pl.DataFrame(settled, schema=schema, orient="row"))


def now() -> datetime:
    return datetime.now(UTC)
