"""Who knows a token, and whose cookie holds."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from ingress.viewers import COOKIE, COOKIE_S, Viewers

TOKEN = "sixteen letters!"
NOW_S = 1_800_000_000.0


def viewers(token: str, now_s: float = NOW_S) -> Viewers:
    return Viewers(SecretStr(token), clock=lambda: now_s)


def sent(cookie: str, **others: str) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in {**others, COOKIE: cookie}.items())}


@pytest.mark.parametrize(
    ("given", "known"),
    [(TOKEN, True), ("other", False), ("", False), (None, False), ("\ud800", False)],
)
def test_only_the_token_is_known(given: str | None, known: bool) -> None:
    assert viewers(TOKEN).knows(given) is known
    if given is not None:
        assert viewers(TOKEN).knows(given.encode("utf-8", "replace")) is known


def test_without_tokens_nobody_is_known() -> None:
    nobody = Viewers(None)
    assert not nobody.any
    assert not nobody.knows("")
    with pytest.raises(ValueError, match="no token"):
        nobody.cookie()
    assert not nobody.signed_in(sent(viewers(TOKEN).cookie()))


@pytest.mark.parametrize("token", [TOKEN, "sechzehn Zeichen: äöü ☃"])
def test_a_cookie_holds_for_its_time_in_every_ingress(token: str) -> None:
    cookie = viewers(token).cookie()
    assert cookie.isascii()
    assert token not in cookie
    assert viewers(token).signed_in(sent(cookie))
    assert viewers(token, now_s=NOW_S + COOKIE_S - 1).signed_in(sent(cookie))
    assert not viewers(token, now_s=NOW_S + COOKIE_S + 1).signed_in(sent(cookie))


def test_a_changed_token_ends_its_cookies() -> None:
    assert not viewers("another sixteen!").signed_in(sent(viewers(TOKEN).cookie()))


@pytest.mark.parametrize(
    "forge",
    [
        lambda until, seal: f"{int(until) + 1}.{seal}",
        lambda until, seal: f"{until}.{'0' * 64}",
        lambda until, seal: f"{until}.",
        lambda until, seal: until,
        lambda until, seal: f".{seal}",
        lambda until, seal: f"{until}.{seal}.{seal}",
        lambda until, seal: f"-{until}.{seal}",
        lambda until, seal: f"{'9' * 5000}.{seal}",
        lambda until, seal: f"١٢٣.{seal}",
        lambda until, seal: f"{until}.\xff\xfe",
        lambda until, seal: "",
    ],
)
def test_no_cookie_can_be_made_up(forge: object) -> None:
    assert callable(forge)
    until, _, seal = viewers(TOKEN).cookie().partition(".")
    assert not viewers(TOKEN).signed_in(sent(forge(until, seal)))


def test_cookies_of_others_on_this_host_do_not_hide_it() -> None:
    cookie = viewers(TOKEN).cookie()
    assert viewers(TOKEN).signed_in(sent(cookie, odd='{"a": [1, 2]}', other="x y@z"))
    assert not viewers(TOKEN).signed_in({"cookie": "=;;;= \x00"})
