"""The Challenge API: whether something answers at its URL, whether that is one, and whether it knows this hotkey."""

from __future__ import annotations

from collections.abc import Iterator

from loosh_pipeline.doctor.clock import TOLERATED_S
from loosh_pipeline.doctor.finding import Finding, look, ok, wrong
from loosh_pipeline.doctor.names import IS_IT_RIGHT
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.api_look import ApiSeen

SUBJECT = "challenge API"
KEPT = "results wait in the outbox until then"


def challenge_api(settings: Settings, seen: ApiSeen | None) -> Iterator[Finding]:
    """`seen`: None where no API is set."""
    if seen is None:
        todo = "set it to the network's; until then results are kept and told to nobody"
        yield look(SUBJECT, "CHALLENGE_API_URL is not set", todo)
        return
    where = f"{_where(settings)} (CHALLENGE_API_URL)"
    if _is_own_ingress(settings):
        yield wrong(SUBJECT, f"{where} is this validator's own ingress", "set CHALLENGE_API_URL to the network's API")
    elif seen.unreachable is not None:
        todo = f"{IS_IT_RIGHT}; {KEPT}" if seen.unresolved else f"is it right, is a firewall between? {KEPT}"
        yield wrong(SUBJECT, f"{where} {seen.unreachable}", todo)
    elif seen.no_api is not None:
        todo = f"set CHALLENGE_API_URL to the API's base URL, without a path of its own; {KEPT}"
        yield wrong(SUBJECT, f"{where} is no Challenge API: {seen.no_api}", todo)
    elif seen.refuses is not None:
        yield wrong(SUBJECT, f"{where} refuses us: {seen.refuses}", _when_refused(seen))
    elif seen.listed is False:
        todo = "ask the subnet's owner to be admitted: miners take from that list whom they answer"
        yield wrong(SUBJECT, f"{where} does not list this hotkey among its active validators", todo)
    else:
        yield ok(SUBJECT, f"{where} {_fine(seen)}, answers in {seen.latency_ms or 0:.0f} ms")


def _fine(seen: ApiSeen) -> str:
    if seen.keys_exchanged is None:
        return "has a public key; without a hotkey no more was asked"
    return "exchanges keys" + (" and lists this hotkey" if seen.listed else "")


def _when_refused(seen: ApiSeen) -> str:
    if seen.offset_s is not None and abs(seen.offset_s) > TOLERATED_S:
        return f"set the clock right first (the line clock says whose); {KEPT}"
    return f"if that stays, ask its operator, with this line; {KEPT}"


def _where(settings: Settings) -> str:
    """The URL without what may be a secret in it."""
    url = settings.challenge_api_url
    assert url is not None
    port = f":{url.port}" if url.port not in (None, {"http": 80, "https": 443}[url.scheme]) else ""
    return f"{url.scheme}://{url.host}{port}{(url.path or '').rstrip('/')}"


def _is_own_ingress(settings: Settings) -> bool:
    url = settings.challenge_api_url
    loopback = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", settings.api_host)
    return url is not None and url.host in loopback and url.port == settings.api_port
