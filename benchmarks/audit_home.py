"""A validator's home with a day of rounds and weights that were set by them, for `benchmarks.audit`.

Rounds are those of `stored_rounds`: real texts, and vectors of the built-in model, seven of 256 miners in each, of whom
one is in all. They are scored by the product under what pays and under the shadow, and lie as a day that is not over
does: a file a table.
Weights go to a chain in memory, through the ledger, as the assets do it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import duckdb
import numpy as np
from bittensor_core import Keypair
from sqlalchemy import Engine, update

from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.devnet.stored_rounds import MINERS, Sample, StoredChallenge, hotkey_of, made
from loosh_pipeline.domain import (
    Availability,
    AvailabilityTable,
    Block,
    ChallengeState,
    Coldkey,
    Hotkey,
    Metagraph,
    Neuron,
    Uid,
)
from loosh_pipeline.paying import Earnings, earned_over, sources_of
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.proposing import gathered, rule_of
from loosh_pipeline.rescoring.rounds import StoredRound
from loosh_pipeline.rescoring.scoring import score_stored
from loosh_pipeline.scoring.context import build_context
from loosh_pipeline.scoring.profiles import profile_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.accepting import Candidate, accept
from loosh_pipeline.store.asking_frames import availability_frame
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.frames import (
    emissions_frame,
    metagraph_frame,
    policy_acts_frame,
    proposal_frame,
    responses_of,
    sources_frame,
)
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.vector_frames import from_frame
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, UNPAID_ASKS, write_inputs, write_terms
from loosh_pipeline.store.weight_frames import write_submission
from loosh_pipeline.weight_setting import Desk, lease_length, set_weights

PROFILES = ("robust", "network")
"""What pays, and the shadow."""
SPAN = timedelta(hours=23, minutes=30)
LOOK_EVERY = timedelta(minutes=2)
ALWAYS = (0,)
"""Uids that are asked in every round, whose receipts are the longest there are."""
CONTEXT_ROUNDS = 500
AT_ONCE = 100
OWN = Keypair.create_from_uri("//validator")


@dataclass(frozen=True, slots=True)
class Day:
    """So many rounds, evenly over `SPAN`, until `until`."""

    rounds: int
    until: datetime

    @property
    def start(self) -> datetime:
        return self.until - SPAN

    def challenges(self, drawn: Sequence[Sample], numbers: range) -> list[StoredChallenge]:
        apart = SPAN / self.rounds
        return [
            each for number in numbers for each in made(drawn, range(number, number + 1), self.start, apart, ALWAYS)
        ]


def address_of(uid: int) -> str:
    return f"11.0.{uid // 250}.{uid % 250 + 1}"


def fill(settings: Settings, drawn: Sequence[Sample], day: Day) -> None:
    """Rounds, their scores, looks and a context."""
    tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
    model = str(drawn[0].vectors["model_digest"][0])
    write_context(tables, drawn, model, day.start - timedelta(hours=1))
    write_looks(tables, day)
    parts = [range(first, min(first + AT_ONCE, day.rounds)) for first in range(0, day.rounds, AT_ONCE)]
    write = partial(write_rounds, settings.tables_root, drawn, day)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for numbers, _ in zip(parts, pool.map(write, parts), strict=True):
            accept_all(inbox.engine, day.challenges(drawn, numbers))
    inbox.engine.dispose()


def accept_all(engine: Engine, rounds: Sequence[StoredChallenge]) -> None:
    """Accept challenges in their order, each with its link, and say that they are told and done with."""
    candidates = [Candidate.of(each.id, each.request, each.received_at) for each in rounds]
    done = {"state": ChallengeState.SUBMITTED, "next_run_at": None}
    with engine.begin() as connection:
        accept(connection, candidates)
        connection.execute(update(challenges).where(challenges.c.id.in_([each.id for each in rounds])).values(done))


def write_rounds(root: str, drawn: Sequence[Sample], day: Day, numbers: range) -> None:
    """Responses, vectors and scores of some rounds."""
    os.fsync = lambda _: None  # type: ignore[assignment]  # nothing here has to outlive a power cut
    tables = Tables(root)
    kept, contexts = ScoreTables(tables), Contexts(tables)
    for each in day.challenges(drawn, numbers):
        stored = StoredRound(
            each.id, each.received_at, each.request, each.sample.prompt, each.responses(), each.vectors()
        )
        tables.write("miner_responses", each.key, stored.responses)
        tables.write("embeddings", each.key, stored.vectors)
        for profile in map(profile_of, PROFILES):
            found = score_stored(stored, contexts.at, profile)
            kept.write(each.key, found.scores, profile, found.model_digest, each.received_at, found.inputs_digest)


def write_context(tables: Tables, drawn: Sequence[Sample], model: str, at: datetime) -> None:
    """Of as many rounds as a validator takes, which are these few again and again."""
    rounds = []
    for sample in drawn:
        vectors = from_frame(sample.vectors).vectors.astype(np.float64)
        rounds.append(([each.text for each in responses_of(sample.responses)], vectors))
    many = [rounds[number % len(rounds)] for number in range(CONTEXT_ROUNDS)]
    context = build_context(many, rounds[0][1].shape[1])
    ScoreTables(tables).write_context(context, model, at, "benchmark")


def write_looks(tables: Tables, day: Day) -> None:
    """At all miners, each of which misses a few."""
    rng = np.random.default_rng(0)
    for number in range(SPAN // LOOK_EVERY):
        at, there = day.start + number * LOOK_EVERY, rng.random(MINERS) < 0.99
        rows = tuple(
            Availability(hotkey_of(uid), Uid(uid), address_of(uid), 9000, bool(there[uid]), "", 5.0)
            for uid in range(MINERS)
        )
        key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-{MINERS}", at)
        tables.write("miner_availability", key, availability_frame(AvailabilityTable(at, rows)))


def subnet(settings: Settings, now: datetime) -> Metagraph:
    """All miners, each with a coldkey and an address of its own, and this validator."""
    validator = Neuron(Uid(MINERS), Hotkey(OWN.ss58_address), Coldkey("5Owner"), None, 0, True, 10_000.0, Block(0))
    miners = (
        Neuron(
            Uid(uid), hotkey_of(uid), Coldkey(f"5Cold{uid:043d}"), address_of(uid), 9000, False, 1.0, Block(0), Block(0)
        )
        for uid in range(MINERS)
    )
    return Metagraph(
        netuid=settings.netuid,
        block=Block(1_000),
        block_hash="0x" + "ab" * 32,
        spec_version=461,
        taken_at=now,
        tempo_blocks=360,
        activity_cutoff_blocks=5_000,
        weights_rate_limit_blocks=1,
        min_allowed_weights=1,
        weights_version_key=0,
        commit_reveal=False,
        neurons=(*miners, validator),
        genesis_hash="0x" + "cd" * 32,
    )


def set_epoch(settings: Settings, day: Day) -> int:
    """Set weights by what is stored, with everything put on record; returns the epoch's number."""
    tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
    now, own = day.until, Hotkey(OWN.ss58_address)
    there = subnet(settings, now)
    tables.write("metagraph", TableKey.of(f"{now:%Y%m%dT%H%M%S%f}-{there.block}", now), metagraph_frame(there))
    key = TableKey.of(f"{now:%Y%m%dT%H%M%S%f}-benchmar", now)
    profile, rule = profile_of(settings.pay_profile), rule_of(settings)
    with duckdb.connect() as connection:
        lookback_h = settings.emissions_lookback_h
        found = earned_over(tables, connection, profile, rule, now, lookback_h)
    write_earnings(tables, key, found)
    inputs = gathered(settings, tables, inbox.engine, there, own, now)
    proposal = propose(inputs)
    write_inputs(tables, key, inputs)
    tables.write("policy_acts", key, policy_acts_frame(proposal))
    tables.write("weight_proposals", key, proposal_frame(proposal))
    chain, ledger = FakeChain(there, own), Submissions(inbox.engine)
    with Leases(inbox.engine).held(LEASE, "benchmark", lease_length(settings), lambda: datetime.now(UTC)) as lease:
        desk = Desk(chain, ledger, lease, lambda row: write_submission(tables, row))
        set_weights(desk, there, own, lambda: proposal)
    (row,) = ledger.newest(1)
    if not row.taken:
        raise SystemExit(f"no weights were set: {row.state} {row.reason}")
    inbox.engine.dispose()
    return row.id


def write_earnings(tables: Tables, key: TableKey, found: Earnings) -> None:
    """As the asset `emissions` does."""
    terms, payouts = found.terms, found.payouts
    about = {"made_at": terms.made_at, "lookback_h": terms.lookback_h, "versions": payouts.rounds}
    if payouts.settled is not None:
        tables.write("settled_scores", key, payouts.settled)
    tables.write("sources", key, sources_frame(sources_of(payouts)))
    tables.write(COUNTED_ROUNDS, key, payouts.counted)
    tables.write(UNPAID_ASKS, key, payouts.unpaid)
    write_terms(tables, key, terms)
    tables.write(
        "emissions", key, emissions_frame(found.emissions, terms.profile, terms.rounds, found.answered, **about)
    )


def size_of(root: Path) -> int:
    return sum(each.stat().st_size for each in root.rglob("*") if each.is_file())
