"""How much a caller may send, how often, and what happens beyond."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from ingress.callers import Caller, caller_of
from ingress.limits import Gate
from ingress.rates import Buckets, Rates
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, seal
from loosh_pipeline.wire.push import build_push_key_exchange
from tests.ingress.conftest import AWAY, HERE, KEY, Serve, body_of, exchange_body, post, signed
from tests.wire.peers import STRANGER, VALIDATOR

JSON = {"content-type": "application/json"}
KNOWN = (VALIDATOR.ss58_address,)
BODY = body_of()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(2.0, clock=clock)
    assert [buckets.take("a") for _ in range(20)] == [0.0] * 20
    assert buckets.take("a") == 0.5
    assert buckets.take("b") == 0.0
    clock.now_s += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a", 3.0) == 1.5
    clock.now_s += 1e6
    assert [buckets.take("a") for _ in range(21)][-1] == 0.5, "no more than a burst is saved up"


def test_a_cost_beyond_a_burst_waits_for_a_full_bucket() -> None:
    assert Buckets(0.1).take("a", 9.0) == 0.0


def test_w_18_buckets_are_bounded() -> None:
    buckets = Buckets(1.0, max_buckets=3)
    for number in range(100):
        buckets.take(str(number))
    assert len(buckets) == 3


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    clock = Clock()
    buckets = Buckets(1.0, clock=clock)
    buckets.take("a")
    clock.now_s -= 500
    assert buckets.take("a") == 0.0


def scope(host: str, **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": (host, 1), "headers": named}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("testclient", "testclient"),
        ("a" * 10_000, "a" * 255),
    ],
)
def test_addresses_are_counted_by_what_one_party_holds(host: str, address: str) -> None:
    assert caller_of(scope(host)).address == address


def test_a_caller_without_an_address_is_no_local_one() -> None:
    caller = caller_of({"type": "http", "client": None, "headers": []})
    assert (caller.address, caller.local) == ("unknown", False)


def test_what_is_forwarded_is_counted_together_too() -> None:
    rates = Rates(Settings(intake_rate_per_address=1.0), clock=Clock())
    waits = [rates.wait_s(caller_of(scope(f"10.0.0.{n % 250}", x_forwarded_for="x"))) for n in range(200)]
    assert waits[99] == 0.0
    assert waits[100] > 0.0, "a made-up address for each request does not help"
    assert rates.wait_s(caller_of(scope("10.0.1.1"))) == 0.0


def test_over_the_rate_is_429_with_retry_after(serve: Serve) -> None:
    client = serve(intake_rate_per_address=0.5)
    answers = [client.get("/availability") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "2"
    assert "too many requests" in answers[-1].json()["detail"]


def test_a_hotkey_has_a_rate_of_its_own(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN, intake_rate_per_hotkey=0.2)
    bodies = [body_of(f"c-{number}") for number in range(3)]
    assert [post(client, body, signed(body)).status_code for body in bodies] == [201, 201, 429]


def test_encrypted_challenges_count_for_their_hotkey(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN, intake_rate_per_hotkey=0.2)
    assert client.post("/fiber/key-exchange", json=exchange_body(client)).status_code == 200
    headers = {"symmetric-key-uuid": "u-1", "hotkey-ss58-address": VALIDATOR.ss58_address}
    junk = [client.post("/fiber/challenge", content=b"x", headers=headers).status_code for _ in range(3)]
    assert junk == [401] * 3, "what others send in its name is not counted"
    tokens = [seal(KEY, body_of(f"c-{number}")) for number in range(2)]
    statuses = [client.post("/fiber/challenge", content=token, headers=headers).status_code for token in tokens]
    assert statuses == [201, 429], "the exchange was one of the two"


def test_this_machine_is_not_counted(serve: Serve) -> None:
    client = serve(HERE, intake_rate_per_address=0.1, intake_rate_per_hotkey=0.1)
    statuses = [post(client, body_of(f"c-{number}"), JSON).status_code for number in range(20)]
    assert set(statuses) == {201}


def test_registering_is_rated(serve: Serve) -> None:
    client = serve(intake_rate_per_address=1.5)
    statuses = [client.post("/register", json={"hotkey": f"5{number}"}).status_code for number in range(3)]
    assert statuses == [200, 429, 429]


def test_w_18_registered_users_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.store.users.MAX_USERS", 2)
    client = serve(HERE)
    statuses = [client.post("/register", json={"hotkey": name}).status_code for name in ("5A", "5B", "5C", "5A")]
    assert statuses == [200, 200, 503, 200]


@pytest.mark.parametrize(
    ("setting", "body", "reason"),
    [
        ({"intake_max_prompt_chars": 10}, {"prompt": "a" * 11}, "at most 10 characters are taken"),
        (
            {"intake_max_message_chars": 10},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a" * 11}]}]},
            "a message has 11 characters of text; at most 10",
        ),
        ({"intake_max_json_chars": 1024}, {"metadata": {"a": "b" * 1024}}, "at most 1024 characters"),
        ({"intake_max_json_depth": 8}, {"metadata": {"a": [[[[[[[[1]]]]]]]]}}, "nests deeper than 8 levels"),
        ({"intake_max_tokens": 100}, {"max_tokens": 101}, "max_tokens is 101; at most 100 tokens"),
    ],
)
def test_every_bound_is_a_setting(serve: Serve, setting: dict[str, int], body: dict[str, Any], reason: str) -> None:
    answer = post(serve(HERE, **setting), body_of(**body), JSON)
    assert (answer.status_code, reason in answer.text) == (422, True), answer.text


def test_an_image_does_not_count_as_text(serve: Serve) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}]
    client = serve(HERE, intake_max_message_chars=10)
    assert post(client, body_of(prompt=None, messages=messages), JSON).status_code == 201


def test_w_8_the_body_is_bounded_by_a_setting(serve: Serve) -> None:
    client = serve(HERE, intake_max_body_bytes=1024)
    for path in ("/challenges", "/fiber/challenge", "/fiber/key-exchange", "/register"):
        answer = client.post(path, content=b"x" * 1025, headers=JSON)
        assert (answer.status_code, "larger than 1024 bytes" in answer.text) == (413, True)


def test_w_8_an_unknown_senders_body_is_not_read(serve: Serve) -> None:
    def unread() -> Any:
        raise AssertionError("the body was read")
        yield b""

    assert serve(AWAY).post("/challenges", content=unread()).status_code == 401


def test_w_18_large_bodies_at_once_are_bounded_together(settings: Settings) -> None:
    gate = Gate(lambda *_: None, rates=Rates(settings), max_body_bytes=10)  # type: ignore[arg-type,return-value]
    hoarder, victim = caller_of(scope("203.0.113.9")), caller_of(scope("203.0.113.10"))
    gate._held[hoarder.address], gate._held_bytes = 21, 21
    with pytest.raises(HTTPException, match="too many large requests at once"):
        gate._check(hoarder)
    gate._held[victim.address], gate._held_bytes = 5, 10_000
    gate._check(victim)


def test_w_18_whoever_holds_bodies_open_is_refused_and_not_the_others(settings: Settings) -> None:
    """Strangers hold as much as there may be; what comes with little is taken all the same."""
    statuses: dict[str, int] = {}

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        statuses[scope["client"][0]] = 201

    async def scenario() -> None:
        gate = Gate(reading, rates=Rates(settings), max_body_bytes=400_000)
        held = asyncio.Event()

        async def sender(host: str, *bodies: bytes, hold: bool) -> None:
            left = list(bodies)

            async def receive() -> Any:
                if not left:
                    await held.wait()
                body = left.pop(0) if left else b""
                return {"type": "http.request", "body": body, "more_body": hold if not held.is_set() else False}

            try:
                await gate(pushing(host), receive, None)  # type: ignore[arg-type]
            except HTTPException as refusal:
                statuses[host] = refusal.status_code

        async with asyncio.TaskGroup() as group:
            for number in range(17):
                group.create_task(sender(f"203.0.113.{number}", b"x" * 390_000, hold=True))
            for _ in range(3):
                group.create_task(sender("203.0.114.1", b"x" * 300_000, hold=True))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await sender("198.51.100.1", b"{}", hold=False)
            assert (statuses["198.51.100.1"], statuses["203.0.113.16"], statuses["203.0.114.1"]) == (201, 503, 503)
            held.set()
        assert (gate._held, gate._held_bytes) == ({}, 0)

    asyncio.run(scenario())


def pushing(host: str) -> dict[str, Any]:
    return scope(host) | {"path": "/challenges", "method": "POST"}


def test_w_8_only_challenges_may_be_large(serve: Serve) -> None:
    client = serve()
    for path in ("/fiber/key-exchange", "/register", "/set_running", "/nowhere"):
        answer = client.post(path, content=b"x" * 16_385, headers=JSON)
        assert (answer.status_code, "larger than 16384 bytes" in answer.text) == (413, True)


def test_a_right_signature_is_not_locked_out_by_strangers_at_the_same_address(serve: Serve) -> None:
    """As behind a proxy elsewhere: one address for all."""
    client = serve(intake_hotkeys=KNOWN, challenge_push_api_key="hunter2", intake_rate_per_address=1.0)
    while client.get("/availability").status_code != 429:
        pass
    assert post(client, BODY, JSON | {"x-api-key": "wrong"}).status_code == 429
    assert post(client, BODY, signed(BODY, STRANGER)).status_code == 429
    other, third = body_of("c-2"), body_of("c-3")
    assert post(client, BODY, signed(BODY)).status_code == 201
    assert post(client, other, JSON | {"x-api-key": "hunter2"}).status_code == 201
    pem = client.app.state.parts.handshakes.public_pem  # type: ignore[attr-defined]
    ciphertext = encrypt_symmetric_key(load_public_key(pem), KEY)
    exchange = build_push_key_exchange(VALIDATOR, "u-1", ciphertext, timestamp_s=time.time())
    assert client.post("/fiber/key-exchange", json=exchange).status_code == 200
    headers = {"symmetric-key-uuid": "u-1", "hotkey-ss58-address": VALIDATOR.ss58_address}
    assert client.post("/fiber/challenge", content=seal(KEY, third), headers=headers).status_code == 201


def test_a_claim_that_is_not_proved_is_rated_and_a_right_one_is_not(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN, intake_rate_per_address=0.5)
    bodies = [body_of(f"c-{number}") for number in range(7)]
    assert {post(client, body, signed(body)).status_code for body in bodies} == {201}
    wrong = [post(client, body, signed(body, X_Signature="0x" + "00" * 64)).status_code for body in bodies]
    assert wrong == [401] * 5 + [429] * 2
    assert len(client.app.state.parts.rates._by_claim) == 1  # type: ignore[attr-defined]


def test_claims_are_bounded() -> None:
    rates = Rates(Settings(), clock=Clock())
    for number in range(10_050):
        rates.claim_wait_s(Caller(f"a{number}", local=False), "5A")
    assert len(rates._by_claim) == 10_000


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 2001:db8::1", "2001:db8::/64"),
        ("127.0.0.1", "198.51.100.1, 127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
    ],
)
def test_what_a_proxy_here_saw_is_counted_and_never_trusted(peer: str, forwarded: str, address: str) -> None:
    caller = caller_of(scope(peer, x_forwarded_for=forwarded))
    assert (caller.address, caller.local) == (address, False)


PROXIES = ("10.0.0.9/32", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.9", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.9", "203.0.113.9", "203.0.113.9"),
        ("2001:db8:1::7", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.9", "127.0.0.1", "10.0.0.9"),
        ("10.0.0.8", "203.0.113.9", "10.0.0.8"),
    ],
)
def test_our_own_proxy_elsewhere_says_whom_it_saw(peer: str, forwarded: str, address: str) -> None:
    caller = caller_of(scope(peer, x_forwarded_for=forwarded), None, PROXIES)
    assert (caller.address, caller.local) == (address, False)


def test_behind_our_own_proxy_a_stranger_takes_nothing_from_others() -> None:
    rates = Rates(Settings(intake_rate_per_address=1.0), clock=Clock())

    def pushed_by(address: str) -> Caller:
        return caller_of(scope("10.0.0.9", x_forwarded_for=address), None, PROXIES)

    waits = [rates.wait_s(pushed_by("203.0.113.9")) for _ in range(500)]
    assert waits[-1] > 0
    assert [rates.wait_s(pushed_by(f"198.51.100.{n}")) for n in range(200)] == [0.0] * 200

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    gate = Gate(reading, rates=Rates(Settings(intake_rate_per_address=1e6)), max_body_bytes=400_000, proxies=PROXIES)
    held = asyncio.Event()

    async def push(address: str, bodies: list[bytes]) -> None:
        given = iter(bodies)

        async def receive() -> dict[str, Any]:
            if (body := next(given, None)) is None:
                await held.wait()
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": body, "more_body": True}

        request = {**scope("10.0.0.9", x_forwarded_for=address), "type": "http", "method": "POST"}
        await gate({**request, "path": "/fiber/challenge"}, receive, None)  # type: ignore[arg-type]

    async def together() -> None:
        hoarding = [asyncio.create_task(push("203.0.113.9", [b"x" * 400_000])) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(HTTPException, match="too many large requests"):
            await push("203.0.113.9", [b"x" * 900])
        honest = asyncio.create_task(push("198.51.100.1", [b"x" * 900]))
        await asyncio.sleep(0.05)
        held.set()
        await asyncio.gather(honest, *hoarding)

    asyncio.run(together())


def test_unsigned_sessions_do_not_count_for_the_hotkey_they_claim(serve: Serve) -> None:
    known = {"intake_auth": "signature-optional", "intake_hotkeys": KNOWN, "intake_rate_per_hotkey": 0.4}
    client = serve(**known, intake_rate_per_address=2.0)
    assert client.post("/fiber/key-exchange", json=exchange_body(client, "evil", signer=None)).status_code == 200
    headers = {"symmetric-key-uuid": "evil", "hotkey-ss58-address": VALIDATOR.ss58_address}
    token = seal(KEY, b"{}")
    answers = [client.post("/fiber/challenge", content=token, headers=headers).status_code for _ in range(60)]
    assert answers[:10] == [400] * 10, "more than a hotkey may"
    assert answers[-1] == 429, "but for the address"
    bodies = [body_of(f"c-{number}") for number in range(4)]
    elsewhere = serve(("198.51.100.1", 1), **known)
    assert [post(elsewhere, body, signed(body)).status_code for body in bodies] == [201] * 4


def test_a_full_backlog_is_503_with_retry_after(serve: Serve) -> None:
    client = serve(HERE, intake_max_backlog=2)
    answers = [post(client, body_of(f"c-{number}"), JSON) for number in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 503]
    assert answers[-1].headers["retry-after"] == "60"
    assert "2 challenges wait already" in answers[-1].json()["detail"]
    assert client.get("/availability").json() == {"available": False}
