"""Signing in from elsewhere: with the token alone, not too often, and to see pages, nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from ingress.viewers import COOKIE
from tests.ingress.conftest import AWAY, HERE, Serve, body_of, post

TOKEN = "sixteen letters!"
BROWSER = {"accept": "text/html,*/*;q=0.8"}
PAGES = ("/", "/challenges", "/miners", "/weights")


def sign_in(client: TestClient, token: str = TOKEN, **how: Any) -> httpx.Response:
    return client.post("/sign-in", data={"token": token}, follow_redirects=False, **how)


def test_a_stranger_is_led_to_the_form_and_from_it_to_the_pages(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    refused = client.get("/", headers=BROWSER)
    assert refused.status_code == 403
    assert 'href="./sign-in"' in refused.text
    assert 'type="password"' in client.get("/sign-in").text
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert {client.get(path).status_code for path in PAGES} == {200}
    assert "Sign out" in client.get("/").text


def test_signing_out_takes_the_cookie_back(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    sign_in(client)
    answer = client.post("/sign-out", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "./sign-in")
    assert {client.get(path).status_code for path in PAGES} == {403}
    assert "Sign out" not in client.get("/sign-in").text


def test_who_is_here_signs_out_of_nothing(serve: Serve) -> None:
    assert "Sign out" not in serve(HERE, pages_token=TOKEN).get("/").text


def test_the_api_key_is_sent_and_makes_no_cookie(serve: Serve) -> None:
    for token in (None, TOKEN):
        client = serve(AWAY, challenge_push_api_key="hunter2", pages_token=token)
        assert client.get("/", headers={"authorization": "Bearer hunter2"}).status_code == 200
        answer = sign_in(client, "hunter2")
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert client.get("/").status_code == 403


@pytest.mark.parametrize("token", ["", "other", "sixteen letters", "sixteen letters!!", "\u2603", "%00", "x" * 1000])
def test_a_wrong_token_is_told_so_and_given_nothing(serve: Serve, token: str) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    answer = sign_in(client, token)
    assert answer.status_code == 403
    assert "That is not the token" in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get("/").status_code == 403


def test_a_form_that_is_none_is_a_wrong_token(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    for body in (b"", b"\xff\xfe", b"token", b"token=%ff&token=" + TOKEN.encode()):
        assert client.post("/sign-in", content=body).status_code == 403


def test_where_there_is_no_token_nobody_signs_in(serve: Serve) -> None:
    client = serve(AWAY)
    assert "set PAGES_TOKEN" in client.get("/sign-in").text
    assert sign_in(client, "").status_code == 403


def test_nobody_guesses_for_long(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN, intake_rate_per_address=3.0)
    tried = [sign_in(client, f"guess {number}") for number in range(6)]
    assert {answer.status_code for answer in tried[:3]} == {403}
    assert tried[-1].status_code == 429
    assert int(tried[-1].headers["retry-after"]) >= 1
    assert sign_in(client).status_code == 429, "the right one is not let in either, as that would tell"


def test_the_cookie_is_for_this_site_alone_and_for_no_script(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    cookie = sign_in(client).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "over plain HTTP, as through a tunnel, it would never come back"
    behind_tls = sign_in(client, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "Secure" in behind_tls.split("; ")


def test_a_cookie_of_a_changed_token_holds_no_more(serve: Serve) -> None:
    before = serve(AWAY, pages_token=TOKEN)
    sign_in(before)
    cookie = {"cookie": f"{COOKIE}={before.cookies[COOKIE]}"}
    assert serve(AWAY, pages_token=TOKEN).get("/", headers=cookie).status_code == 200
    assert serve(AWAY, pages_token="another sixteen!").get("/", headers=cookie).status_code == 403


@pytest.mark.parametrize("token", [TOKEN, "sechzehn Zeichen: äöü"])
def test_a_program_sends_the_token_with_each_request(serve: Serve, token: str) -> None:
    client = serve(AWAY, pages_token=token)
    for scheme in (b"Bearer ", b"bearer "):
        assert client.get("/", headers={b"authorization": scheme + token.encode()}).status_code == 200
    assert client.get("/", headers={"authorization": "Bearer other"}).status_code == 403
    assert client.get("/", headers={"x-api-key": "other"}).status_code == 403


def test_the_token_of_the_pages_opens_nothing_else(serve: Serve) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    sign_in(client)
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/metrics", headers=bearer).status_code == 403
    pushed = post(client, body_of(), {"content-type": "application/json", **bearer})
    assert pushed.status_code == 401
    stopped = client.post("/set_running", json={"running": False}, headers={"master-hotkey": "5Own", **bearer})
    assert stopped.status_code == 403


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
def test_other_methods_of_a_page_show_nothing(serve: Serve, method: str) -> None:
    client = serve(AWAY, pages_token=TOKEN)
    for path in ("/", "/miners", "/weights"):
        assert client.request(method, path).status_code in (403, 405)
