"""What was seen of others, and what it means: clock, chain, reach, Challenge API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.chain.look import NodeSeen
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.doctor import api, chain, clock, reach
from loosh_pipeline.domain import Metagraph
from loosh_pipeline.errors import ChainError
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.api_look import ApiSeen
from tests.builders import metagraph, neuron
from tests.doctor.conftest import only

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
STALE_S = 120.0
DOWN = NodeSeen("ws://down", problem="failed (refused)")


def node(age_s: float = 3.0, **fields: Any) -> NodeSeen:
    defaults: dict[str, Any] = {"genesis_hash": "0xaa", "block": 7, "latency_ms": 2.0}
    return NodeSeen("ws://node", made_at=NOW - timedelta(seconds=age_s), seen_at=NOW, **(defaults | fields))


@pytest.mark.parametrize(
    ("age_s", "api_s", "kept", "verdict", "text"),
    [
        (3.0, 0.2, "kept", "ok", "synchronised"),
        (3.0, None, "unknown", "ok", "3 s old"),
        (3.0, 0.2, "not kept", "look", "not synchronised"),
        (3.0, -9.0, "kept", "look", "-9 s by the Challenge API"),
        (3600.0, 3597.0, "kept", "wrong", "3,597 s ahead by the Challenge API's and the newest block"),
        (-3600.0, -3600.0, "kept", "wrong", "3,600 s behind by the Challenge API's and the newest block"),
        (3.0, 3600.0, "kept", "look", "the Challenge API's clock is 3,600 s behind"),
        (9.0, -60.0, "kept", "look", "the Challenge API's clock is 60 s ahead"),
        (70.0, 60.0, "kept", "wrong", "60 s ahead by the Challenge API's and the newest block"),
        (None, 3600.0, "kept", "wrong", "3,600 s ahead by the Challenge API's"),
        (-3600.0, None, "kept", "wrong", "3,600 s behind by the newest block"),
        (3600.0, None, "unknown", "wrong", "nobody else can be asked"),
        (3600.0, None, "not kept", "wrong", "nobody else can be asked"),
        (3600.0, None, "kept", "ok", "the newest block is 3600 s old; synchronised"),
        (3600.0, 0.1, "kept", "ok", "the newest block is 3600 s old"),
        (None, None, "kept", "ok", "nothing to compare it with"),
        (None, None, "unknown", "look", "nothing to compare it with"),
    ],
)
def test_the_clock_is_judged_by_others(
    age_s: float | None, api_s: float | None, kept: clock.Kept, verdict: str, text: str
) -> None:
    nodes = [DOWN] if age_s is None else [DOWN, node(age_s), node(age_s + 60)]
    found = clock.clock(nodes, api_s, STALE_S, kept)
    assert (found.verdict, text in found.said) == (verdict, True), found


def test_on_a_subnet_on_this_machine_nobody_else_has_a_clock() -> None:
    assert clock.clock([node()], 0.0, STALE_S, "not kept", devnet=True).verdict == "ok"


def test_the_kernel_is_asked_whether_somebody_keeps_its_clock() -> None:
    assert clock.kept_by_ntp() in ("kept", "not kept", "unknown")


def test_one_endpoint_that_serves_is_enough() -> None:
    found = list(chain.endpoints([DOWN, node()], STALE_S))
    assert [each.verdict for each in found] == ["look", "ok"]
    assert "(SUBTENSOR_ADDRESS) failed" in found[0].said


@pytest.mark.parametrize(
    ("seen", "text", "todo"),
    [
        (node(500.0), "knows no block of now (500 s old)", "set SUBTENSOR_ADDRESS to another"),
        (DOWN, "failed (refused)", "set SUBTENSOR_ADDRESS to one that runs"),
    ],
)
def test_none_that_serves_is_wrong(seen: NodeSeen, text: str, todo: str) -> None:
    found = only(chain.endpoints([seen], STALE_S))
    assert (found.verdict, text in found.said, todo in found.todo) == ("wrong", True, True), found


def test_a_second_that_is_there_need_not_be_named() -> None:
    todos = [each.todo for each in chain.endpoints([node(), DOWN], STALE_S) if each.verdict == "look"]
    assert todos == ["start the node, or set SUBTENSOR_FALLBACKS to one that runs"]


def test_another_network_among_the_fallbacks() -> None:
    found = list(chain.endpoints([node(), node(genesis_hash="0xbb")], STALE_S))
    assert [each.verdict for each in found] == ["ok", "look"]
    assert "serves another chain than ws://node" in found[1].said
    assert "set SUBTENSOR_FALLBACKS right" in found[1].todo


def test_the_first_that_serves_says_how_we_stand(settings: Settings) -> None:
    both, subnet = settings.model_copy(update={"subtensor_fallbacks": ("ws://second:1",)}), metagraph()
    asked: list[str] = []

    def snapshot(at: str) -> Metagraph:
        asked.append(at)
        return subnet

    assert chain.subnet_seen(both, [DOWN, node()], snapshot) is subnet
    assert asked == ["ws://second:1"]
    assert chain.subnet_seen(both, [DOWN, DOWN], snapshot) is None


def test_what_the_chain_refuses_is_told(settings: Settings) -> None:
    error = ChainError("subnet 78 does not exist on this chain; check NETUID and SUBTENSOR_ADDRESS")
    found = only(chain.standing(settings, error, NOW))
    assert (found.verdict, found.todo) == ("wrong", "check NETUID and SUBTENSOR_ADDRESS")


@pytest.mark.parametrize(
    ("fields", "wrongs"),
    [
        ({"validator_permit": True, "stake": 1500.0}, []),
        ({"validator_permit": False, "stake": 1500.0}, ["permit"]),
        ({"validator_permit": True, "stake": 10.0}, ["permit"]),
        ({"validator_permit": False, "stake": 10.0}, ["permit", "permit"]),
        ({"validator_permit": True, "stake": 1500.0, "coldkey": "5other"}, ["registration"]),
    ],
)
def test_registration_permit_and_stake(tmp_path: Path, fields: dict[str, Any], wrongs: list[str]) -> None:
    made = create_wallet(tmp_path, "validator", "validator")
    me = neuron(0, hotkey=made.hotkey, **({"coldkey": made.coldkey} | fields))
    subnet = metagraph((me, neuron(1)), stake_threshold=1000.0)
    found = list(chain.standing(Settings(loosh_home=tmp_path, wallet_path=tmp_path), subnet, NOW))
    assert [each.subject for each in found if each.verdict == "wrong"] == wrongs


@pytest.mark.parametrize(
    ("where", "changes", "verdict", "text"),
    [
        (("8.8.8.8", 8000), {}, "ok", "curl -m 5 http://8.8.8.8:8000/availability"),
        (("8.8.8.8", 9000), {}, "look", "the ingress listens on 8000 (API_PORT)"),
        (("8.8.8.8", 443), {"public_url": "https://v.example"}, "ok", "announced as 8.8.8.8:443"),
        (("10.0.0.1", 8000), {}, "look", "cannot be reached from elsewhere"),
        ((None, 0), {}, "look", "the chain has no address of this validator"),
    ],
)
def test_what_the_chain_says_of_where_it_is(
    tmp_path: Path, where: tuple[str | None, int], changes: dict[str, Any], verdict: str, text: str
) -> None:
    made = create_wallet(tmp_path, "validator", "validator")
    subnet = metagraph((neuron(0, hotkey=made.hotkey, ip=where[0], port=where[1]),))
    settings = Settings(loosh_home=tmp_path, wallet_path=tmp_path, **changes)
    found = only(reach.reach(settings, subnet, devnet=False))
    assert (found.verdict, text in found.said) == (verdict, True), found


def test_what_is_bound_to_loopback_is_for_this_machine(tmp_path: Path) -> None:
    settings = Settings(loosh_home=tmp_path, wallet_path=tmp_path, api_host="127.0.0.1")
    found = list(reach.reach(settings, None, devnet=False))
    assert [each.verdict for each in found] == ["look", "ok"]
    assert "API_HOST=127.0.0.1" in found[0].said


@pytest.mark.parametrize(
    ("seen", "verdict", "text", "todo"),
    [
        (ApiSeen(keys_exchanged=True, listed=True, latency_ms=9.0), "ok", "lists this hotkey", ""),
        (ApiSeen(keys_exchanged=True, listed=None), "ok", "exchanges keys, answers", ""),
        (ApiSeen(), "ok", "without a hotkey no more was asked", ""),
        (ApiSeen(keys_exchanged=True, listed=False), "wrong", "does not list this hotkey", "admitted"),
        (ApiSeen(refuses="HTTP 401", offset_s=3600.0), "wrong", "refuses us: HTTP 401", "the clock right first"),
        (ApiSeen(refuses="HTTP 503"), "wrong", "refuses us: HTTP 503", "ask its operator"),
        (ApiSeen(no_api="a page"), "wrong", "is no Challenge API: a page", "base URL"),
        (ApiSeen(unreachable="did not answer within 8 s"), "wrong", "did not answer", "firewall"),
        (None, "look", "not set", "until then results are kept"),
    ],
)
def test_what_was_seen_of_the_api_is_judged(seen: ApiSeen | None, verdict: str, text: str, todo: str) -> None:
    found = only(api.challenge_api(Settings(challenge_api_url="https://api.example/base/"), seen))
    assert (found.verdict, text in found.said, todo in found.todo) == (verdict, True, True), found
    if seen is not None:
        assert found.said.startswith("https://api.example/base (CHALLENGE_API_URL)")
