"""From emissions through policy and checks to the chain, and what is told of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.domain import (
    Availability,
    AvailabilityTable,
    Block,
    ChallengeId,
    DeliveryKind,
    NetworkView,
    Outcome,
    Proposal,
)
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.errors import ChainTimeout
from loosh_pipeline.paying import earned_over
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.proposing import gathered, rule_of
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.tables import TableKey
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, read_inputs, read_terms
from loosh_pipeline.store.weighing import answered_at, last_vector
from resources.duckdb import tables_duckdb
from resources.store import Store
from tests.builders import neuron, neutral_round, response
from tests.world import MODEL_DIGEST, World, failure_of, metadata_of

CUTOFF = 5000


def proposal_of(world: World) -> Proposal:
    found = world.store.newest_proposal()
    assert found is not None
    return found


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def set_rules(monkeypatch: pytest.MonkeyPatch, **rules: object) -> None:
    for name, value in rules.items():
        monkeypatch.setenv(name.upper(), str(value))
    get_settings.cache_clear()


def blocks_pass(world: World, blocks: int) -> None:
    """So many since weights were last set."""
    graph = world.chain.metagraph
    last = graph.neurons[0].last_update or graph.block
    own = replace(graph.neurons[0], last_update=last)
    world.chain.metagraph = replace(graph, block=Block(last + blocks), neurons=(own, *graph.neurons[1:]))
    world.store.save_metagraph(replace(world.chain.metagraph, taken_at=datetime.now(UTC)))


def test_a_share_is_followed_down_to_answers(world: World) -> None:
    """weight → proposal and acts → emissions → settled scores, each by its newest table."""
    for i in range(3):
        world.store_round(f"c-{i}", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": False})
    result = world.set_weights()
    tables = {
        name: world.store.tables.latest(name)
        for name in ("settled_scores", "sources", "emissions", "weight_proposals", "policy_acts", "weights")
    }
    assert all(table is not None for table in tables.values())
    assert metadata_of(result, "weight_proposal")["basis"] == "lookback"
    emissions = tables["emissions"]
    assert emissions is not None
    assert emissions.columns[:11] == [
        "hotkey", "asked", "answered", "paid", "mean_payout", "evidence", "ramp", "coverage", "emission", "weight",
        "last_answered_at",
    ]  # fmt: skip
    row = emissions.row(by_predicate=pl.col("hotkey") == "hotkey-1", named=True)
    assert row["emission"] == pytest.approx(row["mean_payout"] * row["ramp"] * row["coverage"])
    assert row["versions"] == [{"scorer_version": row["versions"][0]["scorer_version"], "rounds": 3}]


def test_a_restart_changes_nothing(world: World) -> None:
    """Another process that gathers at the same moment proposes the same bytes."""
    for i in range(4):
        world.store_round(f"c-{i}", {"hotkey-1": True, "hotkey-2": i % 2 == 0, "hotkey-3": Outcome.TIMEOUT})
    world.set_weights("emissions")
    now = datetime.now(UTC)
    made = []
    for _ in range(2):
        store = Store(world.settings)
        inputs = gathered(
            world.settings, store.tables, store.inbox.engine, world.chain.metagraph, world.chain.hotkey, now
        )
        made.append(propose(inputs))
        store.close()
    assert made[0] == made[1]
    assert repr(made[0]) == repr(made[1])


def test_what_is_on_record_leads_to_the_same_proposal_and_says_which_rounds_counted(world: World) -> None:
    for i in range(4):
        world.store_round(f"c-{i}", {"hotkey-1": True, "hotkey-2": i % 2 == 0, "hotkey-3": Outcome.TIMEOUT})
    world.set_weights()
    tables = world.store.tables
    (proposed,), (earned,) = (list(tables.newest_first(name)) for name in ("weight_proposals", "emissions"))
    found, stored = propose(read_inputs(tables, proposed)), proposal_of(world)
    assert replace(found, made_at=stored.made_at) == stored
    assert abs(found.made_at - stored.made_at) < timedelta(milliseconds=1)
    terms, counted = read_terms(tables, earned), tables.read(COUNTED_ROUNDS, earned)
    assert (terms.rounds, counted["challenge_id"].to_list()) == (4, [f"c-{i}" for i in range(4)])
    assert not counted["left_out"].any()
    assert terms.rule == rule_of(world.settings)


def test_being_there_half_of_the_time_is_paid_by_half(world: World) -> None:
    for i in range(3):
        world.store_round(f"c-{i}", {"hotkey-1": True, "hotkey-2": True})
    now = datetime.now(UTC)
    for minute in range(40):
        rows = tuple(
            Availability(f"hotkey-{uid}", uid, "127.0.0.1", 9000, uid == 1 or minute % 2 == 0, "", 1.0)
            for uid in (1, 2)
        )
        world.store.save_availability(AvailabilityTable(now - timedelta(minutes=2 * minute), rows))
    world.set_weights("emissions")
    frame = world.store.tables.latest("emissions")
    assert frame is not None
    first, second = frame.sort("hotkey").select("coverage", "weight").rows()
    assert first[0] == 1.0
    assert second == pytest.approx((0.5, 1 / 3), abs=0.02)


def test_in_need_the_lookback_grows_until_somebody_earned(world: World) -> None:
    """S28: there, an emergency still looks at no more than a day."""
    world.store_round("c-1", {"hotkey-1": True}, age=timedelta(hours=40))
    world.store_round("c-2", {"hotkey-2": True}, age=timedelta(hours=100))
    assert metadata_of(world.set_weights("emissions"), "emissions")["lookback_h"] == 24.0
    blocks_pass(world, 4000)
    result = world.set_weights("emissions", "weight_proposal")
    assert metadata_of(result, "emissions")["lookback_h"] == 48.0
    assert (proposal_of(world).basis, proposal_of(world).shares) == ("longer_lookback", {"hotkey-1": 1.0})


@pytest.mark.parametrize(("answering", "lookback_h"), [(1, 48.0), (2, 24.0)])
def test_after_an_outage_one_fresh_round_does_not_take_everything(
    world: World, answering: int, lookback_h: float
) -> None:
    """Four were paid; weights are pressing; what is enough is half of them."""
    world.store_round("c-1", dict.fromkeys((f"hotkey-{uid}" for uid in (1, 2, 3, 4)), True), age=timedelta(hours=23.99))
    assert world.set_weights().success
    for table in ("consensus_scores", "pair_evidence"):
        shutil.rmtree(Path(world.settings.tables_root) / table)
    world.store_round("c-2", dict.fromkeys((f"hotkey-{uid}" for uid in (1, 2, 3, 4)), True), age=timedelta(hours=40))
    world.store_round("c-3", {f"hotkey-{uid}": uid <= answering for uid in (1, 2, 3, 4)})
    blocks_pass(world, 4000)
    found = metadata_of(world.set_weights("emissions", "weight_proposal"), "emissions")
    assert (found["mode"], found["lookback_h"]) == ("degraded", lookback_h)


def test_own_weight_and_the_suspected_are_nobody_to_be_paid(world: World) -> None:
    """A lookback that only they earned in is none to take."""
    world.store_round("c-1", {"hotkey-1": True})
    world.store_round("c-2", {"hotkey-1": True, "hotkey-2": True}, age=timedelta(hours=40))
    suspected(world, hotkey_1=0.5)
    blocks_pass(world, 4000)
    assert metadata_of(world.set_weights("emissions"), "emissions")["lookback_h"] == 48.0


def test_the_networks_method_looks_at_its_own_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averages that begin elsewhere than those of the other validators are others."""
    set_rules(monkeypatch, emissions_lookback_h=12)
    profile, now = NetworkProfile(), datetime.now(UTC)
    for hours in (20, 25):
        came, name = now - timedelta(hours=hours), ChallengeId(f"c-{hours}")
        version = scorer_version(profile, MODEL_DIGEST)
        made = neutral_round({"hotkey-1": True}, challenge_id=name, profile=profile.name, scorer_version=version)
        world.store.score_tables.write(TableKey.of(name, came), made, profile, MODEL_DIGEST, came)
    with tables_duckdb().get_connection() as connection:
        found = earned_over(world.store.tables, connection, profile, EmissionRule(), now, 12.0)
    assert found.terms.rounds == 1
    assert [each.asked for each in found.emissions] == [1]


def test_what_the_last_weights_rested_on_is_kept(world: World) -> None:
    assert last_vector(world.store.tables) is None
    for i in range(3):
        world.store_round(f"c-{i}", {"hotkey-1": True, "hotkey-2": True})
    assert world.set_weights().success
    world.store_round("c-4", {"hotkey-1": True, "hotkey-2": True})
    world.set_weights("emissions", "weight_proposal")
    last = last_vector(world.store.tables)
    assert last is not None
    assert (last.rounds, last.basis) == (3, "lookback"), "of the proposal that was set, and not of a newer one"
    shutil.rmtree(Path(world.settings.tables_root) / "weight_proposals")
    again = last_vector(world.store.tables)
    assert again is not None
    assert (again.rounds, again.basis, again.shares) == (None, None, last.shares)


def test_an_address_is_proved_by_the_newest_answer(world: World) -> None:
    """Who announces another afterwards, or does not answer there, has proved nothing."""
    proofs = [("c-1", "8.8.8.8", Outcome.ANSWERED), ("c-2", "2001:4860:0:0::8", Outcome.ANSWERED)]
    for name, ip, outcome in proofs:
        answer = response("hotkey-1", challenge_id=world.accept(name), ip=ip, outcome=outcome)
        world.store.inbox.collected(answer.challenge_id, [answer], datetime.now(UTC))
    assert answered_at(world.store.inbox.engine) == {"hotkey-1": "2001:4860::8"}
    silent = response("hotkey-1", challenge_id=world.accept("c-3"), ip="9.9.9.9", outcome=Outcome.TIMEOUT, text=None)
    world.store.inbox.collected(silent.challenge_id, [silent], datetime.now(UTC))
    assert answered_at(world.store.inbox.engine) == {}


def test_w_24_an_emergency_without_any_round_sets_the_last_weights_again(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True}, age=timedelta(hours=23, minutes=59))
    assert world.set_weights().success
    before = world.chain.submitted[-1].weights
    for table in ("consensus_scores", "pair_evidence"):
        shutil.rmtree(Path(world.settings.tables_root) / table)
    blocks_pass(world, 100)
    assert not world.set_weights(raise_on_error=False).success
    blocks_pass(world, 4500)
    result = world.set_weights()
    assert metadata_of(result, "weight_proposal")["basis"] == "last_vector"
    assert world.chain.submitted[-1].weights == before


def test_w_24_a_chain_that_cannot_be_read_is_no_normal_mode(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("snapshot", ChainTimeout("ws://127.0.0.1:9 did not answer snapshot within 60 s"))
    result = world.set_weights(raise_on_error=False)
    assert "did not answer snapshot" in failure_of(result)
    assert world.store.newest_proposal() is None
    assert world.chain.submitted == []


def test_one_broken_table_does_not_cost_the_validator_its_place(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    assert world.set_weights().success
    before = world.chain.submitted[-1].weights
    (table,) = (Path(world.settings.tables_root) / "consensus_scores").glob("*/*.parquet")
    table.write_bytes(b"no table at all")
    blocks_pass(world, 4000)
    assert "weight_proposal" not in steps_that_succeeded(world.set_weights(raise_on_error=False))
    blocks_pass(world, 4500)
    result = world.set_weights(raise_on_error=False)
    assert metadata_of(result, "weight_proposal")["basis"] == "last_vector"
    assert len(world.chain.submitted) == 2
    assert world.chain.submitted[-1].weights == before
    assert "accusations" not in steps_that_succeeded(result), "the table is still broken"


def steps_that_succeeded(result: dg.ExecuteInProcessResult) -> set[str | None]:
    return {event.step_key for event in result.all_events if event.is_step_success}


def test_what_fails_says_why_and_one_run_may_waive_it(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": False})
    world.store_round("c-2", {"hotkey-1": True}, profile=RobustProfile(relevance_gate=0.4))
    result = world.set_weights(raise_on_error=False)
    found = checks_of(result)["one_scorer_version"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "1 rounds by" in found.metadata["reason"].text
    assert world.chain.submitted == []

    waived = world.set_weights(config={"waive": ["one_scorer_version"]})
    assert waived.success
    found = checks_of(waived)["one_scorer_version"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert metadata_of(waived, "weight_proposal")["waived"] == "one_scorer_version"
    assert proposal_of(world).overrides == ("one_scorer_version",)
    assert len(world.chain.submitted) == 1


def test_what_cannot_be_waived_is_said(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    result = world.set_weights(config={"waive": ["finite"]}, raise_on_error=False)
    assert "finite cannot be waived; only change, flagged_share, one_scorer_version can" in failure_of(result)


def test_the_very_proposal_that_is_submitted_is_judged(world: World) -> None:
    """`weights` alone, with a proposal that passed once and whose burn hotkey is not there any more."""
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights("emissions", "weight_proposal")
    old = replace(proposal_of(world), made_at=datetime.now(UTC) - timedelta(hours=2))
    world.store.save_proposal(old, replace_key(world))
    result = world.set_weights("weights", raise_on_error=False)
    assert "recent: not of this hour: the proposal of" in failure_of(result)
    assert world.chain.submitted == []


def replace_key(world: World) -> Any:
    return next(world.store.tables.newest_first("weight_proposals"))


def suspected(world: World, **scores: float) -> None:
    at = datetime.now(UTC) - timedelta(minutes=5)
    named = {name.replace("_", "-"): score for name, score in scores.items()}
    world.store.save_network_view(NetworkView(at, frozenset({"validator"}), named, {}))


def told(world: World) -> list[dict[str, Any]]:
    leased = world.store.outbox.lease(datetime.now(UTC) + timedelta(hours=1), 50)
    return [json.loads(row.payload) for row in leased if row.kind is DeliveryKind.PENALTY_REPORT]


def test_penalties_of_weights_that_were_set_are_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_rules(monkeypatch, weights_sybil_evidence="false", weights_max_penalised_share=1, weights_max_flagged_share=1)
    suspected(world, hotkey_1=0.25, hotkey_2=1.0)
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": True})
    world.set_weights("emissions", "weight_proposal", "penalties")
    assert told(world) == [], "nothing was set"

    result = world.set_weights()
    assert metadata_of(result, "penalties")["reports_to_tell"] == 1
    assert world.chain.submitted[0].weights == pytest.approx({1: 0.75 / 1.75, 3: 1 / 1.75})
    again = world.set_weights()  # within the rate limit: nothing new is set
    assert metadata_of(again, "penalties")["reports_to_tell"] == 0
    (report,) = told(world)
    assert report["validator_hotkey"] == world.signer.ss58_address
    assert report["penalties"] == [
        {"miner_hotkey": "hotkey-1", "miner_uid": 1, "penalty_type": "graduated", "sybil_score": 0.25},
        {"miner_hotkey": "hotkey-2", "miner_uid": 2, "penalty_type": "zeroed", "sybil_score": 1.0},
    ]


def test_the_newest_view_is_the_newest_by_time(world: World) -> None:
    """Also on the day of an upgrade, when earlier ones lie beside it under names that do not sort."""
    now = datetime.now(UTC)
    for minutes in (30, 20, 10):
        view = NetworkView(now - timedelta(minutes=minutes), frozenset({f"v-{minutes}"}), {}, {})
        written = Path(world.store.save_network_view(view).path)
        written.with_name(f"~{minutes:064d}.parquet").write_bytes(written.read_bytes())
    found = world.store.newest_network_view()
    assert found is not None
    assert found.validators == {"v-10"}


def test_who_is_spared_is_not_told(world: World) -> None:
    suspected(world, hotkey_1=0.5)
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    assert metadata_of(world.set_weights(), "penalties")["penalised"] == 0
    assert [act.rule for act in proposal_of(world).acts] == ["sybil_penalty"]
    assert told(world) == []


def test_who_shares_a_coldkey_is_penalised_by_what_is_stored(world: World) -> None:
    graph = world.chain.metagraph
    owned = tuple(replace(each, coldkey="owner") if each.uid in (1, 2) else each for each in graph.neurons)
    world.chain.metagraph = replace(graph, neurons=(*owned, neuron(9)))
    suspected(world, hotkey_1=0.5)
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": True})
    world.set_weights()
    shares = proposal_of(world).shares
    assert shares["hotkey-1"] == pytest.approx(shares["hotkey-2"] / 2)
