"""One look at what stands at CHALLENGE_API_URL: an API, one that fails, and servers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet.api_endpoints import ApiSays
from loosh_pipeline.devnet.api_switches import Switches, Turn
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.wire.api_calls import VALIDATORS_PATH
from loosh_pipeline.wire.api_http import Reply
from loosh_pipeline.wire.api_look import ApiSeen, _offset_s, look_at_api
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.messages import KEY_EXCHANGE_PATH, PUBLIC_KEY_PATH
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key


def seen_of(app: Starlette, signer: Signer | None = VALIDATOR, within_s: float = 5.0) -> ApiSeen:
    async def scenario() -> ApiSeen:
        async with serve_apps([Served(app)]) as (port,):
            return await asyncio.to_thread(look_at_api, f"http://127.0.0.1:{port}/", signer, within_s)

    return asyncio.run(scenario())


def api(turns: Mapping[str, list[Turn]] | None = None) -> Starlette:
    switches = Switches()
    for path, each in (turns or {}).items():
        switches.set(path, each)
    says = ApiSays(validators=[{"hotkey_ss58": VALIDATOR.ss58_address, "validator_permit": True, "metadata": {}}])
    return create_challenge_api_app(handshakes=HandshakeServer(private_key=rsa_key()), switches=switches, says=says)


def test_an_api_that_knows_us() -> None:
    seen = seen_of(api())
    assert (seen.keys_exchanged, seen.listed) == (True, True)
    assert (seen.unreachable, seen.no_api, seen.refuses) == (None, None, None)
    assert seen.offset_s is not None
    assert abs(seen.offset_s) < 3


def test_an_answer_that_a_cache_has_kept_is_so_old() -> None:
    now = datetime.now(UTC)
    date = format_datetime(now - timedelta(hours=1), usegmt=True)
    for age, offset_s in (("3600", 0), ("", 3600), ("-5", 3600), ("9" * 400, 3600)):
        kept = Reply(200, {"date": date, "age": age}, b"")
        assert _offset_s(kept, now) == pytest.approx(offset_s, abs=2)


def test_one_that_does_not_list_us() -> None:
    assert seen_of(api(), STRANGER).listed is False


def test_without_a_hotkey_it_is_only_looked_at() -> None:
    seen = seen_of(api(), None)
    assert (seen.keys_exchanged, seen.listed, seen.no_api) == (None, None, None)


@pytest.mark.parametrize(
    ("path", "turn", "text"),
    [
        (PUBLIC_KEY_PATH, Turn(503), "GET /fiber/public-key was answered with HTTP 503"),
        (PUBLIC_KEY_PATH, Turn(429), "HTTP 429"),
        (KEY_EXCHANGE_PATH, Turn(401), "POST /fiber/key-exchange was answered with HTTP 401"),
    ],
)
def test_one_that_refuses(path: str, turn: Turn, text: str) -> None:
    assert text in (seen_of(api({path: [turn] * 3})).refuses or "")


def test_one_that_hangs_is_left_in_time() -> None:
    assert seen_of(api({PUBLIC_KEY_PATH: [Turn(hang=True)]}), within_s=0.3).unreachable == "did not answer within 0.3 s"


def page(*_: Request) -> Response:
    return HTMLResponse("<h1>Welcome</h1>")


def moved(*_: Request) -> Response:
    return RedirectResponse("https://elsewhere.example/")


def exchange_alone() -> Starlette:
    """What a validator serves: a public key, and nothing that says who validates."""
    from loosh_pipeline.wire.crypto import public_pem

    return Starlette(routes=[Route(PUBLIC_KEY_PATH, lambda _r: JSONResponse({"public_key": public_pem(rsa_key())}))])


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (lambda: Starlette(), "HTTP 404"),
        (lambda: Starlette(routes=[Route("/{path:path}", page)]), "(text/html), which holds no public key"),
        (lambda: Starlette(routes=[Route("/{path:path}", moved)]), "it leads to https://elsewhere.example/"),
        (exchange_alone, "is it a validator?"),
        (lambda: api({VALIDATORS_PATH: [Turn(404)]}), "is it a validator?"),
    ],
)
def test_servers_that_are_no_challenge_api(app: Callable[[], Starlette], text: str) -> None:
    assert text in (seen_of(app()).no_api or "")


def test_a_name_that_does_not_resolve() -> None:
    seen = look_at_api("http://no-such-host.invalid", VALIDATOR, 5.0)
    assert (seen.unreachable or "").startswith("cannot be reached")
