"""Challenges that are generated: signed, at a rate, plain or encrypted, and a summary that hides nothing."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.cli import app
from loosh_pipeline.cli import challenges as cli_challenges
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.errors import ConfigError, WireError
from loosh_pipeline.sending import challenges, push_all, read_prompts, summarised
from loosh_pipeline.settings import get_settings
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.headers import verify_signature_headers
from loosh_pipeline.wire.messages import verify_binding
from loosh_pipeline.wire.push import parse_push_key_exchange
from loosh_pipeline.wire.pushing import FiberSender, PlainSender, Pushed, Sender
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key

RECIPIENT = STRANGER.ss58_address


class Intake:
    """What a validator and a Challenge API take: 201, or the statuses given, in turn; everything is noted."""

    def __init__(self, *statuses: int, forget_after: int = 10**9) -> None:
        self.handshakes = HandshakeServer(private_key=rsa_key())
        self.statuses = list(statuses)
        self.forget_after = forget_after
        self.challenges: list[dict[str, Any]] = []
        self.signers: list[str | None] = []
        self.api_keys: list[str | None] = []
        self.times_s: list[float] = []
        self.exchanges = 0
        self.bound: list[bool] = []

    def answer(self, body: bytes, signer: str | None) -> Response:
        self.times_s.append(time.monotonic())
        self.challenges.append(json.loads(body))
        self.signers.append(signer)
        status = self.statuses.pop(0) if self.statuses else 201
        return JSONResponse({"detail": "no\nway"} if status != 201 else {}, status_code=status)

    async def plain(self, request: Request) -> Response:
        body = await request.body()
        self.api_keys.append(request.headers.get("x-api-key"))
        try:
            signer = verify_signature_headers(request.headers, body, now_s=time.time(), window_s=30).hotkey
        except WireError:
            return self.answer(body, None)
        return self.answer(body, signer)

    async def public_key(self, _: Request) -> Response:
        return JSONResponse({"public_key": self.handshakes.public_pem})

    async def key_exchange(self, request: Request) -> Response:
        self.exchanges += 1
        exchange = parse_push_key_exchange(await request.body())
        self.handshakes.open_session(exchange)
        verify_binding(exchange, RECIPIENT)
        self.bound.append(exchange.binding is not None)
        return JSONResponse({"success": True})

    async def fiber(self, request: Request) -> Response:
        hotkey, key_uuid = request.headers["hotkey-ss58-address"], request.headers["symmetric-key-uuid"]
        if len(self.challenges) == self.forget_after:
            self.forget_after = 10**9
            self.handshakes = HandshakeServer(private_key=rsa_key(1))
        key = self.handshakes.session_key(hotkey, key_uuid)
        if key is None:
            return JSONResponse({"detail": "unknown"}, status_code=401)
        return self.answer(unseal(key, await request.body()), hotkey)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/challenges", self.plain, methods=["POST"]),
                Route("/challenge", self.plain, methods=["POST"]),
                Route("/fiber/public-key", self.public_key),
                Route("/fiber/key-exchange", self.key_exchange, methods=["POST"]),
                Route("/fiber/challenge", self.fiber, methods=["POST"]),
            ]
        )


def pushed(intake: Intake, sender: type | Any, prompts: list[str], rate_per_s: float = 1000.0) -> list[Pushed]:
    """Push prompts to an intake; `sender` makes the sender for its URL."""

    async def scenario() -> list[Pushed]:
        async with serve_apps([Served(intake.app)]) as (port,):
            made: Sender = sender(f"http://127.0.0.1:{port}/")
            wanted = challenges([{"prompt": prompt} for prompt in prompts], None, {"max_tokens": 9})
            return [said for _, said in await push_all(wanted, made, rate_per_s)]

    return asyncio.run(scenario())


def test_challenges_are_pushed_signed_and_at_the_asked_rate() -> None:
    intake = Intake(201, 201, 409)
    answers = pushed(intake, lambda url: PlainSender(url, signer=VALIDATOR), ["a", "b", "c"], 10.0)
    assert [(each.status, each.said) for each in answers] == [(201, ""), (201, ""), (409, "no way")]
    assert [challenge["prompt"] for challenge in intake.challenges] == ["a", "b", "c"]
    assert {challenge["max_tokens"] for challenge in intake.challenges} == {9}
    assert set(intake.signers) == {VALIDATOR.ss58_address}
    assert 0.15 < intake.times_s[-1] - intake.times_s[0] < 5.0


def test_encrypted_challenges_share_one_session() -> None:
    intake = Intake()
    answers = pushed(intake, lambda url: FiberSender(url, VALIDATOR), ["a", "b", "c"])
    assert [each.status for each in answers] == [201] * 3
    assert intake.exchanges == 1
    assert set(intake.signers) == {VALIDATOR.ss58_address}


def test_w_5_a_session_is_bound_to_its_recipient_where_that_is_known() -> None:
    intake = Intake()
    for recipient in (None, RECIPIENT):
        pushed(intake, lambda url, to=recipient: FiberSender(url, VALIDATOR, recipient=to), ["a"])
    assert intake.bound == [False, True]


def test_a_validator_that_restarted_gets_another_handshake() -> None:
    intake = Intake(forget_after=1)
    answers = pushed(intake, lambda url: FiberSender(url, VALIDATOR), ["a", "b"], 20.0)
    assert [each.status for each in answers] == [201, 201]
    assert intake.exchanges == 2


@pytest.mark.parametrize("sender", [PlainSender, lambda url: FiberSender(url, VALIDATOR)])
def test_whoever_cannot_be_reached_is_reported_for_each_challenge(sender: Any) -> None:
    wanted = challenges([{"prompt": "a"}], 2, {})
    answers = asyncio.run(push_all(wanted, sender("http://127.0.0.1:1"), 1000.0))
    assert [each.status for _, each in answers] == [None, None]
    assert all("ConnectError" in each.said for _, each in answers)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_rate_of_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate above zero"):
        asyncio.run(push_all([], PlainSender("http://127.0.0.1:1"), rate))


def test_prompts_are_used_again_under_ids_of_their_own() -> None:
    made = list(challenges([{"prompt": "a"}, {"prompt": "b"}], 5, {"top_p": 0.5}))
    assert [challenge["prompt"] for challenge in made] == ["a", "b", "a", "b", "a"]
    assert len({challenge["id"] for challenge in made}) == 5
    (first, _) = challenges([{"prompt": "a", "top_p": 0.1}], 2, {"top_p": 0.5}, hexadecimal=True)
    assert (len(bytes.fromhex(first["id"])), first["top_p"]) == (32, 0.1)


def test_an_id_of_a_row_is_sent_once() -> None:
    first, second, third = challenges([{"prompt": "a", "id": "j-1"}, {"prompt": "b", "id": "j-1"}], 3, {})
    assert (first["id"], second["id"]) == ("j-1", "j-1")  # it is for the receiver to say that it knows it
    assert third["id"] != "j-1"


def test_prompts_are_lines_or_rows(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n\n two \n")
    assert read_prompts(tmp_path / "p.txt") == [{"prompt": "one"}, {"prompt": "two"}]
    rows = [
        {"instruction": "i", "output": "o"},
        {"prompt": "p", "model": "m", "id": "kept"},
        {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_prompts(tmp_path / "p.jsonl") == [
        {"prompt": "i"},
        {"prompt": "p", "model": "m", "id": "kept"},
        {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"\n \n", "has none; write one a line"),
        ("p.txt", b"\xff", "cannot be read"),
        ("p.txt", b'a\n{"prompt": "b"}', r"p\.txt:2 looks like JSON.* named \.jsonl"),
        ("p.json", b'[{"prompt": "b"}]', r"p\.json:1 looks like JSON"),
        ("p.jsonl", b'{"prompt": "a"}\n{', r"p\.jsonl:2 is not JSON"),
        ("p.jsonl", b"[]", r"p\.jsonl:1 is not a JSON object but list"),
        ("p.jsonl", b'{"output": "a"}', r"p\.jsonl:1 has nothing to ask"),
        ("p.jsonl", b"[" * 100_000, r"p\.jsonl:1 is not JSON"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_prompts(tmp_path / name)


def test_a_summary_hides_nothing() -> None:
    said = [
        ("a", Pushed(201, "", 1.0, "1:aa")),
        ("b", Pushed(201, "", 3.0)),
        ("c", Pushed(409, "known", 2.0)),
        ("d", Pushed(None, "gone")),
    ]
    summary = summarised(said, 2.0).to_dict()
    assert summary == {
        "sent": 4,
        "accepted": 2,
        "ids": ["a", "b"],
        "links": {"a": "1:aa"},
        "refused": {"409": 1, "no answer": 1},
        "reasons": ["gone", "known"],
        "seconds": 2.0,
        "p50_ms": 2.0,
        "p99_ms": 3.0,
    }
    assert summarised([("a", Pushed(None, "gone"))], 1.0).to_dict()["p50_ms"] is None


def run(intake: Intake, monkeypatch: pytest.MonkeyPatch, *arguments: str, to: str = "--to") -> Any:
    """`loosh challenges send` against an intake, with a wallet."""
    settings = get_settings()
    monkeypatch.setenv("WALLET_PATH", str(settings.home / "wallets"))
    get_settings.cache_clear()
    create_wallet(settings.home / "wallets", "validator", "validator")

    async def scenario() -> Any:
        async with serve_apps([Served(intake.app)]) as (port,):
            command = ["challenges", "send", *arguments, "--rate", "1000", to, f"http://127.0.0.1:{port}"]
            return await asyncio.to_thread(CliRunner().invoke, app, command)

    return asyncio.run(scenario())


def test_the_command_sends_built_in_prompts_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = Intake()
    result = run(intake, monkeypatch, "--count", "3", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["sent"], summary["accepted"], summary["refused"]) == (3, 3, {})
    assert len(set(intake.signers)) == 1
    assert None not in intake.signers


def test_the_commands_recipient_is_the_wallets_own_hotkey_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def made(*given: Any) -> FiberSender:
        told.append(given)
        return FiberSender(*given)

    monkeypatch.setattr(cli_challenges, "FiberSender", made)
    intake = Intake()
    assert run(intake, monkeypatch, "--count", "1", "--fiber", "--recipient", RECIPIENT).exit_code == 0
    assert intake.bound == [True]
    CliRunner().invoke(app, ["challenges", "send", "--fiber", "--count", "1"])
    assert told[-1][3] == told[-1][1].ss58_address


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://there"])
def test_a_receiver_that_is_no_url_is_refused(url: str) -> None:
    result = CliRunner().invoke(app, ["challenges", "send", "--to", url])
    assert result.exit_code == 2
    assert f"--to {url} is no URL" in result.output.replace("\n", " ")


def test_the_command_fails_when_any_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Intake(201, 403), monkeypatch, "--count", "2")
    assert result.exit_code == 1
    assert "403" in result.output
    assert "no way" in result.output


@pytest.mark.parametrize("arguments", [["--unsigned"], ["--fiber"]])
def test_the_command_sends_unsigned_or_encrypted(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    intake = Intake()
    result = run(intake, monkeypatch, "--count", "1", *arguments)
    assert result.exit_code == 0, result.output
    assert (intake.signers == [None]) is ("--unsigned" in arguments)
    assert intake.exchanges == int("--fiber" in arguments)


def test_the_command_sends_to_a_challenge_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHALLENGE_API_KEY", "key one")
    (tmp_path / "p.txt").write_text("only one")
    intake = Intake()
    result = run(intake, monkeypatch, str(tmp_path / "p.txt"), to="--to-api")
    assert result.exit_code == 0, result.output
    (challenge,) = intake.challenges
    assert len(challenge["id"]) == 64
    assert (challenge["prompt"], intake.api_keys) == ("only one", ["key one"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "http://a", "--to-api", "http://b"],
        ["--fiber", "--to-api", "http://b"],
        ["--fiber", "--unsigned", "--recipient", "alice"],
    ],
)
def test_the_command_wants_one_receiver(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["challenges", "send", *arguments])
    assert result.exit_code == 2


def test_the_anonymous_hotkey_is_one() -> None:
    from loosh_pipeline.wire.crypto import parse_hotkey

    assert parse_hotkey(cli_challenges.ANONYMOUS) == cli_challenges.ANONYMOUS
