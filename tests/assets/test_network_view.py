"""What the network thinks of its hotkeys is asked, kept, and stands while nobody answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from assets.challenges import READ_ONCE
from loosh_pipeline.devnet.api_endpoints import ApiSays
from loosh_pipeline.devnet.api_record import Record
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.errors import LooshError, WireError
from loosh_pipeline.store.outbox import OutboxState
from loosh_pipeline.wire.challenge_api_client import HttpChallengeApi
from loosh_pipeline.wire.fakes import FakeChallengeApi
from loosh_pipeline.wire.network_view import ScoresSaid, ValidatorsSaid
from loosh_pipeline.wire.sessions import HandshakeServer
from resources.challenge_api import Unconfigured
from sensors.outbox_sensor import outbox_sensor
from tests.devnet.desk import serving
from tests.wire.peers import rsa_key
from tests.world import World, failure_of, metadata_of

H1, H2 = Hotkey("hotkey-1"), Hotkey("hotkey-2")


@pytest.fixture
def seen(world: World) -> World:
    """A world whose metagraph was taken."""
    world.store.save_metagraph(world.chain.metagraph)
    return world


def test_what_is_said_becomes_a_view_with_its_figures(seen: World) -> None:
    seen.api = FakeChallengeApi(
        view=ValidatorsSaid(frozenset({Hotkey("5V")}), dropped=1),
        scores=ScoresSaid({H1: 0.5, H2: 0.0}, {H1: 2.0}, dropped=2),
    )
    said = metadata_of(seen.refresh_network_view(), "network_view")
    view = seen.store.newest_network_view()
    assert view is not None
    assert (view.validators, view.sybil_scores, view.priority_weights) == ({"5V"}, {H1: 0.5, H2: 0.0}, {H1: 2.0})
    assert view.taken_at.tzinfo is not None
    assert {name: said[name] for name in ("asked_about", "validators", "suspected", "not_understood", "block")} == {
        "asked_about": 4,
        "validators": 1,
        "suspected": 1,
        "not_understood": 3,
        "block": 100,
    }


def test_those_who_serve_are_asked_about_and_reported_but_not_oneself(seen: World) -> None:
    own, first, *others = seen.chain.metagraph.neurons
    serving = replace(own, ip="100.1.2.3", port=8000)
    silent = replace(first, ip=None, port=0)
    seen.store.save_metagraph(replace(seen.chain.metagraph, neurons=(serving, silent, *others)))
    seen.refresh_network_view()
    assert seen.api.asked == [("hotkey-2", "hotkey-3", "hotkey-4")]
    (row,) = seen.store.outbox.lease(datetime.now(UTC), 9)
    assert row.kind is DeliveryKind.NETWORK_REPORT
    seen.api.tell(row.kind, row.payload)
    (report,) = seen.api.calls
    assert report["validator_hotkey"] == seen.signer.ss58_address
    assert [each["miner_hotkey"] for each in report["observations"]] == ["hotkey-2", "hotkey-3", "hotkey-4"]


def test_a_subnet_without_miners_is_asked_for_validators_only(seen: World) -> None:
    seen.store.save_metagraph(replace(seen.chain.metagraph, neurons=seen.chain.metagraph.neurons[:1]))
    seen.refresh_network_view()
    assert seen.api.asked == []


@pytest.mark.parametrize("silent", ["view", "scores"])
def test_while_the_api_is_away_the_run_fails_and_the_last_view_stands(seen: World, silent: str) -> None:
    seen.api.view = ValidatorsSaid(frozenset({Hotkey("5V")}))
    seen.refresh_network_view()
    before = seen.store.newest_network_view()
    setattr(seen.api, silent, WireError("Challenge API: GET /validators was answered with HTTP 503"))
    for _ in range(3):
        result = seen.refresh_network_view(raise_on_error=False)
        assert not result.success
        assert "was answered with HTTP 503" in failure_of(result)
    assert seen.store.newest_network_view() == before
    assert seen.store.outbox.counts()[OutboxState.PENDING] == 1, "reports do not pile up meanwhile"


def test_without_a_metagraph_it_says_what_to_do(world: World) -> None:
    assert "materialize metagraph first" in failure_of(world.refresh_network_view(raise_on_error=False))


def test_without_an_api_it_says_what_to_set(seen: World) -> None:
    seen.api = Unconfigured()
    assert "CHALLENGE_API_URL is not set" in failure_of(seen.refresh_network_view(raise_on_error=False))
    with pytest.raises(LooshError, match="CHALLENGE_API_URL is not set"):
        seen.api.sybil_scores([H1])


def test_over_a_socket_a_strict_api_is_asked_and_told(seen: World) -> None:
    """The whole way: signed questions, a round's batch, and where everyone serves."""
    own = seen.signer.ss58_address
    says = ApiSays(
        [{"hotkey_ss58": own, "validator_permit": True, "metadata": {}}],
        {"hotkey-1": {"sybil_score": 0.75, "priority_weight": None}, "hotkey-2": 0.5, "hotkey-3": None},
    )
    record = Record()
    app = create_challenge_api_app(handshakes=HandshakeServer(private_key=rsa_key()), record=record, says=says)
    with serving(app) as url:
        seen.api = HttpChallengeApi(url, seen.signer, "key")
        assert seen.refresh_network_view().success
        assert seen.evaluate(seen.accept()).success
        resources = {"store": seen.store, "challenge_api": seen.api}
        with dg.build_sensor_context(instance=seen.instance, resources=resources) as context:
            said = outbox_sensor(context)
    assert isinstance(said, dg.SkipReason)
    assert said.skip_message == "delivered 1"
    view = seen.store.newest_network_view()
    assert view is not None
    assert (view.validators, view.sybil_scores) == ({own}, {H1: 0.75, H2: 0.5, "hotkey-4": 0.0})
    assert view.priority_weights == {H1: 1.0, H2: 1.0, "hotkey-4": 1.0}
    (batch,) = record.batches.all()
    assert (batch.challenge_id, batch.validator_hotkey, batch.encrypted) == ("c-1", own, True)
    (report,) = record.of("/analytics/miner-network/bulk")
    assert [each["miner_hotkey"] for each in report["observations"]] == [f"hotkey-{uid}" for uid in (1, 2, 3, 4)]
    assert record.clear_text_batches == 0


def test_a_newer_snapshot_makes_nothing_stale_that_was_made_of_an_earlier_one(seen: World) -> None:
    for _ in range(2):
        seen.refresh_availability()
        seen.refresh_network_view()
        seen.refresh_context()
    for name in ("miner_availability", "network_view", "scoring_context"):
        newest = seen.instance.get_latest_materialization_event(dg.AssetKey(name))
        assert newest is not None
        assert newest.asset_materialization is not None
        assert (newest.asset_materialization.tags or {})["dagster/data_version"] == READ_ONCE.value
