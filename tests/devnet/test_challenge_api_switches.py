"""Whatever the Challenge API does, over real sockets: what is told arrives once, or waits, or is parked."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from loosh_pipeline.devnet.api_endpoints import ApiSays
from loosh_pipeline.devnet.api_record import Record
from loosh_pipeline.devnet.api_switches import Switches, Turn
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.domain import RESULTS, ChallengeId, ChallengeState, DeliveryKind, Hotkey
from loosh_pipeline.errors import WireError
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import OutboxState
from loosh_pipeline.wire.api_calls import CALLS, CLEAR_BATCH_PATH, VALIDATORS_PATH
from loosh_pipeline.wire.challenge_api_client import PAUSE_AFTER_SILENCE_S
from loosh_pipeline.wire.headers import signature_headers
from loosh_pipeline.wire.messages import KEY_EXCHANGE_PATH, PUBLIC_KEY_PATH
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.builders import NOON
from tests.devnet.desk import ALREADY, DELIVERED, REFUSED, RETRY, Desk, Tally, a_desk, run_turns
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key
from tests.wire.telling import ID, OWN, golden

SEALED = [kind for kind in DeliveryKind if CALLS[kind].sealed]
SIGNED = [kind for kind in DeliveryKind if not CALLS[kind].sealed]


@pytest.fixture(scope="module")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the one challenge that is told of; copied, as making one takes long."""
    path = tmp_path_factory.mktemp("new") / "validator.db"
    inbox = Inbox.open(f"sqlite:///{path}")
    inbox.accept(ID, {"id": ID, "prompt": "hi"}, NOON)
    inbox.engine.dispose()
    return path


@pytest.fixture
def database(new_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(new_database, tmp_path))


@pytest.fixture
def at_desk(database: Path) -> Callable[..., Any]:
    """Run blocking work at a desk whose API is served on a socket."""

    def run(work: Callable[[Desk], Any], says: ApiSays | None = None, **options: Any) -> Any:
        record, switches = Record(), Switches()
        handshakes = HandshakeServer(private_key=rsa_key())
        app = create_challenge_api_app(handshakes=handshakes, record=record, switches=switches, says=says)

        def seated(port: int) -> Any:
            with a_desk(database, f"http://127.0.0.1:{port}", record, switches, **options) as desk:
                return work(desk)

        async def scenario() -> Any:
            async with serve_apps([Served(app)]) as (port,):
                return await asyncio.to_thread(seated, port)

        return asyncio.run(scenario())

    return run


@pytest.mark.parametrize("kind", DeliveryKind)
def test_what_goes_well_is_told_once(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [], 2)
        assert desk.tallies == [DELIVERED, {}]
        assert desk.told(kind) == 1
        assert desk.state is (ChallengeState.SUBMITTED if kind in RESULTS else ChallengeState.RECEIVED)
        assert desk.record.clear_text_batches == 0

    at_desk(work)


@pytest.mark.parametrize("kind", SEALED)
def test_200_is_as_good_as_201_on_an_encrypted_route(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(200)], 1)
        assert desk.tallies == [DELIVERED]

    at_desk(work)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_w_13_what_may_pass_is_tried_again_and_then_told_once(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    passing = [404, 408, 425, 429, 500, 502, 503, 504]

    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(status) for status in passing], len(passing) + 1)
        assert desk.tallies == [*[RETRY] * len(passing), DELIVERED]
        assert desk.told(kind) == 1
        assert desk.record.clear_text_batches == 0

    at_desk(work)


@pytest.mark.parametrize("kind", SEALED)
def test_401_is_answered_with_a_handshake_and_the_same_again(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(401)], 1)
        assert desk.tallies == [DELIVERED]

    at_desk(work)


@pytest.mark.parametrize("kind", SIGNED)
def test_401_to_a_signed_call_is_signed_again_later(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(401)], 2)
        assert desk.tallies == [RETRY, DELIVERED]

    at_desk(work)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_409_is_taken_as_done(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(409)], 2)
        assert desk.tallies == [ALREADY, {}]
        assert desk.state is (ChallengeState.SUBMITTED if kind in RESULTS else ChallengeState.RECEIVED)

    at_desk(work)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_other_refusals_are_parked_with_their_reason_until_an_operator_says_otherwise(
    at_desk: Callable[..., Any], kind: DeliveryKind
) -> None:
    def work(desk: Desk) -> None:
        desk.keep(kind)
        for status in (403, 413, 422):
            desk.switches.set(CALLS[kind].path, [Turn(status)])
            assert [desk.attempt(), desk.attempt(1e6)] == [REFUSED, {}]
            (refusal,) = desk.outbox.refused(10)
            assert (refusal.kind, refusal.detail) == (kind, f'HTTP {status}: {{"detail":"as switched"}}')
            assert desk.outbox.unpark(desk.now) == 1
        assert desk.attempt() == DELIVERED
        assert desk.record.clear_text_batches == 0

    at_desk(work)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_400_to_a_fresh_key_is_a_refusal_too(at_desk: Callable[..., Any], kind: DeliveryKind) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(400)], 2)
        assert desk.tallies == [REFUSED, {}]

    at_desk(work)


def test_retry_after_is_waited_for_by_everything_of_that_kind(at_desk: Callable[..., Any]) -> None:
    kind = DeliveryKind.SYBIL_REPORT

    def work(desk: Desk) -> None:
        desk.switches.set(CALLS[kind].path, [Turn(429, retry_after="77")])
        desk.outbox.keep_reports(kind, {"one": golden(kind), "two": golden(kind)}, desk.now)
        assert desk.attempt() == RETRY, "the second was not tried"
        desk.keep(DeliveryKind.NETWORK_REPORT)
        assert desk.attempt(76.0) == DELIVERED, "another kind need not wait"
        assert desk.attempt(1.0) == {"delivered": 2}

    at_desk(work)


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        (DeliveryKind.RESPONSE_BATCH, ALREADY),
        (DeliveryKind.CALLBACK, DELIVERED),
        (DeliveryKind.NETWORK_REPORT, DELIVERED),
    ],
)
def test_an_answer_that_never_comes_is_asked_for_again(
    at_desk: Callable[..., Any], kind: DeliveryKind, second: Tally
) -> None:
    """What was taken without an answer is told a second time; the challenge id makes it one."""

    def work(desk: Desk) -> None:
        run_turns(desk, kind, [Turn(hang=True)], 1)
        desk.attempt(PAUSE_AFTER_SILENCE_S)
        assert desk.tallies == [RETRY, second]

    at_desk(work, timeout_s=1.0)


def test_w_13_a_request_that_is_never_taken_is_made_again_and_holds_up_no_other(at_desk: Callable[..., Any]) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, DeliveryKind.RESPONSE_BATCH, [Turn(503, hang=True)], 1)
        assert desk.tallies == [RETRY]
        other = ChallengeId("another")
        desk.inbox.accept(other, {"id": other, "prompt": "hi"}, desk.now)
        desk.outbox.keep_result(other, golden(DeliveryKind.RESPONSE_BATCH), desk.now)
        assert [desk.attempt(1.0), desk.attempt(1.0)] == [DELIVERED, ALREADY], "of one challenge, twice"

    at_desk(work, timeout_s=1.0)


@pytest.mark.parametrize("path", [PUBLIC_KEY_PATH, KEY_EXCHANGE_PATH])
def test_a_handshake_that_fails_is_tried_again_later(at_desk: Callable[..., Any], path: str) -> None:
    failing = [Turn(hang=True), *map(Turn, (400, 401, 403, 404, 409, 429, 500))]

    def work(desk: Desk) -> None:
        desk.switches.set(path, failing)
        desk.keep(DeliveryKind.RESPONSE_BATCH)
        for number in range(len(failing) + 1):
            desk.attempt(PAUSE_AFTER_SILENCE_S * 2**number)
        assert desk.tallies == [*[RETRY] * len(failing), DELIVERED]
        assert desk.record.clear_text_batches == 0

    at_desk(work, timeout_s=1.0)


def test_w_13_a_limit_on_handshakes_is_waited_for(at_desk: Callable[..., Any]) -> None:
    def work(desk: Desk) -> None:
        desk.switches.set(PUBLIC_KEY_PATH, [Turn(429, retry_after="60")])
        run_turns(desk, DeliveryKind.RESPONSE_BATCH, [], 2)
        assert desk.tallies == [RETRY, {}]
        assert desk.attempt(60.0) == DELIVERED

    at_desk(work)


def test_w_13_with_nobody_listening_everything_waits(database: Path) -> None:
    """The port is held, so that nobody else can answer there."""

    async def scenario() -> None:
        async with serve_apps([Served(None)]) as (port,):
            await asyncio.to_thread(work, port)

    def work(port: int) -> None:
        with a_desk(database, f"http://127.0.0.1:{port}", Record(), Switches()) as desk:
            for kind in DeliveryKind:
                if kind is not DeliveryKind.CALLBACK:
                    desk.keep(kind)
            assert desk.attempt() == {"retry": 5}
            assert desk.outbox.counts()[OutboxState.PENDING] == 5
            assert desk.state is ChallengeState.SCORED

    asyncio.run(scenario())


def test_a_restart_in_the_middle_costs_a_handshake(at_desk: Callable[..., Any]) -> None:
    def work(desk: Desk) -> None:
        run_turns(desk, DeliveryKind.HEATMAP, [], 1)
        assert httpx.post(f"{desk.base_url}/restart", trust_env=False).is_success
        desk.keep(DeliveryKind.RESPONSE_BATCH)
        assert desk.attempt() == DELIVERED

    at_desk(work)


def test_w_14_the_api_sees_no_clear_text_unless_it_is_allowed(at_desk: Callable[..., Any]) -> None:
    def strict(desk: Desk) -> None:
        run_turns(desk, DeliveryKind.RESPONSE_BATCH, [Turn(status) for status in (500, 404, 302)], 4)
        assert desk.tallies == [RETRY, RETRY, RETRY, DELIVERED]
        assert desk.record.clear_text_batches == 0
        (batch,) = desk.record.batches.all()
        assert batch.encrypted

    at_desk(strict)


def test_w_14_where_it_is_allowed_clear_text_is_signed_and_said_to_be_so(at_desk: Callable[..., Any]) -> None:
    def lenient(desk: Desk) -> None:
        desk.switches.set(CLEAR_BATCH_PATH, [Turn(200)])
        run_turns(desk, DeliveryKind.RESPONSE_BATCH, [Turn(500), Turn(500)], 2)
        assert desk.tallies == [RETRY, ALREADY], "a 200 there is no delivery, though it was taken"
        assert desk.record.clear_text_batches == 2
        (batch,) = httpx.get(f"{desk.base_url}/received", trust_env=False).json()
        assert (batch["encrypted"], batch["validator_hotkey"], batch["challenge_id"]) == (False, OWN, ID)

    at_desk(lenient, allow_clear_text=True)


def test_w_17_a_captured_call_cannot_be_made_again_nor_another_with_its_headers(at_desk: Callable[..., Any]) -> None:
    def work(desk: Desk) -> None:
        body = golden(DeliveryKind.NETWORK_REPORT)
        url = desk.base_url + CALLS[DeliveryKind.NETWORK_REPORT].path
        with httpx.Client(trust_env=False) as http:

            def post(headers: dict[str, str], content: bytes = body) -> int:
                return http.post(url, content=content, headers=headers).status_code

            captured = signature_headers(VALIDATOR, body, now_s=time.time())
            assert post(captured, body + b" ") == 401, "another body"
            assert [post(captured), post(captured)] == [201, 401]
            assert post(signature_headers(VALIDATOR, body, now_s=time.time() - 61)) == 401
            assert post(signature_headers(STRANGER, body, now_s=time.time())) == 400, "signed, but not by the sender"
            assert post({}) == 401
            get = signature_headers(VALIDATOR, None, now_s=time.time())
            asked = [http.get(desk.base_url + VALIDATORS_PATH, headers=get).status_code for _ in range(2)]
            assert asked == [200, 401]
        assert desk.told(DeliveryKind.NETWORK_REPORT) == 1

    at_desk(work)


def test_w_29_neither_answers_nor_keys_reach_the_log(
    at_desk: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def work(desk: Desk) -> None:
        run_turns(desk, DeliveryKind.RESPONSE_BATCH, [Turn(401), Turn(500), Turn(422)], 2)
        run_turns(desk, DeliveryKind.NETWORK_REPORT, [Turn(500)], 2)

    at_desk(work, api_key="hunter-2-hunter-2", allow_clear_text=True)
    assert "telling in clear text" in caplog.text
    for secret in ("hunter", "Because air scatters", "5FirstMiner"):
        assert secret not in caplog.text


def test_it_says_what_it_knows_in_every_shape(at_desk: Callable[..., Any]) -> None:
    entries = [
        {"hotkey_ss58": OWN, "validator_permit": True, "metadata": {"admin_approved": False}},
        {"hotkey_ss58": STRANGER.ss58_address, "validator_permit": False, "metadata": {}},
    ]
    says = ApiSays(entries, {"a": {"sybil_score": 0.5, "priority_weight": 3.0}, "b": 0.25, "c": None})

    def work(desk: Desk) -> None:
        assert desk.client.validators().hotkeys == {OWN}
        said = desk.client.sybil_scores([Hotkey(name) for name in "abcd"])
        assert said.sybil_scores == {"a": 0.5, "b": 0.25, "d": 0.0}
        assert said.priority_weights == {"a": 3.0, "b": 1.0, "d": 1.0}
        active = httpx.get(f"{desk.base_url}/validators/active-hotkeys", trust_env=False).json()
        assert active == [{"hotkey_ss58": entry["hotkey_ss58"]} for entry in entries]

    at_desk(work, says)


@pytest.mark.parametrize("turn", [Turn(503), Turn(401), Turn(hang=True)])
def test_what_it_does_not_say_is_an_error(at_desk: Callable[..., Any], turn: Turn) -> None:
    def work(desk: Desk) -> None:
        desk.switches.set(VALIDATORS_PATH, [turn])
        with pytest.raises(WireError, match="GET /validators was"):
            desk.client.validators()
        assert desk.client.validators().hotkeys == frozenset()

    at_desk(work, timeout_s=1.0)


def test_switches_are_set_over_http_too_and_what_is_no_switch_is_refused(at_desk: Callable[..., Any]) -> None:
    path = CALLS[DeliveryKind.RESPONSE_BATCH].path

    def work(desk: Desk) -> None:
        def switch(**body: Any) -> int:
            return httpx.post(f"{desk.base_url}/switches", json=body, trust_env=False).status_code

        assert switch(path=path, turns=[{"status": 99}]) == 422
        assert switch(path=path, turns=[{"status": "500"}]) == 422
        assert switch(turns=[]) == 422
        assert switch(path=path, turn=[]) == 422
        assert switch(path="/nope", turns=[]) == 422
        assert switch(path=path, turns=[{"state": 500}]) == 422
        assert switch(path=path, turns=[{"status": 503, "retry_after": "9"}]) == 200
        desk.keep(DeliveryKind.RESPONSE_BATCH)
        assert desk.attempt() == RETRY
        assert desk.attempt(8.0) == {}
        assert desk.attempt(1.0) == DELIVERED
        desk.keep(DeliveryKind.PENALTY_REPORT)
        desk.attempt()
        (call,) = httpx.get(f"{desk.base_url}/record", trust_env=False).json()["calls"]
        assert (call["path"], call["hotkey"]) == ("/analytics/penalty-report", OWN)

    at_desk(work)


def test_a_new_challenge_is_taken_signed(at_desk: Callable[..., Any]) -> None:
    def work(desk: Desk) -> None:
        body = b'{"id": "' + b"ab" * 32 + b'", "prompt": "hi", "temperature": 0.7}'
        with httpx.Client(trust_env=False) as http:
            headers = signature_headers(VALIDATOR, body, now_s=time.time())
            assert http.post(f"{desk.base_url}/challenge", content=body, headers=headers).status_code == 201
            assert http.post(f"{desk.base_url}/challenge", content=body).status_code == 401
        assert [each["id"] for each in desk.record.of("/challenge")] == ["ab" * 32]

    at_desk(work)
