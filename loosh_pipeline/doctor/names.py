"""Whether the names in the settings can be resolved. A resolver that does not answer hangs whoever asks, and cannot be
interrupted: each name is asked for once, and nobody else asks for one that had no answer.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from loosh_pipeline.doctor.checkup import Check, in_thread
from loosh_pipeline.doctor.finding import Finding, look, ok, wrong
from loosh_pipeline.llm.addresses import OPENAI_URL
from loosh_pipeline.settings import Settings

WITHIN_S = 6.0
"""More than the 5 s after which the C library asks the next name server."""
RESOLVER = "check the resolver (/etc/resolv.conf)"
IS_IT_RIGHT = f"is the name right? If it is, {RESOLVER}"
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

Resolve = Callable[[str], object]


def host_of(url: str) -> str | None:
    """The name in a URL that somebody has to resolve; None for an address, and for this machine's own."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    if not host or host == "localhost":
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def llm_url(settings: Settings) -> str | None:
    """Where the LLM is asked; None where none is."""
    if settings.llm_api_url is not None:
        return str(settings.llm_api_url)
    asked = settings.enable_narrative_generation and settings.llm_model and settings.llm_api_key is not None
    return OPENAI_URL if asked and settings.llm_provider == "openai" else None


def named(settings: Settings) -> Mapping[str, Sequence[str]]:
    """URLs of others, by the setting that names them."""
    broker = settings.celery_broker_url.get_secret_value()
    one_each = {
        "CHALLENGE_API_URL": settings.challenge_api_url,
        "EMBEDDING_MODEL": settings.embedding_url,
        "EMBEDDER_URL": settings.embedder_url,
        "LLM_API_URL": llm_url(settings),
        "CELERY_BROKER_URL": broker,
        "DATABASE_URL": settings.database_url,
    }
    found = {name: (str(url),) for name, url in one_each.items() if url}
    return {
        "SUBTENSOR_ADDRESS": settings.chain_endpoints[:1],
        "SUBTENSOR_FALLBACKS": settings.chain_endpoints[1:],
    } | found


class Names:
    """Looks them all up at once, from when it is made. `fault` waits for one, `found` for all."""

    def __init__(self, urls: Mapping[str, Sequence[str]], resolve: Resolve | None = None) -> None:
        resolve = resolve or _resolve
        hosts = {host: name for name, some in reversed(list(urls.items())) for url in some if (host := host_of(url))}
        self._settings = hosts
        self._until_s = time.monotonic() + WITHIN_S
        self._asked = {host: in_thread(lambda host=host: resolve(host)) for host in hosts}  # type: ignore[misc]

    def fault(self, url: str) -> str | None:
        """Why the name in a URL cannot be resolved; None where it can, or where there is none."""
        host = host_of(url)
        return self._why(host) if host in self._asked else None

    def _why(self, host: str) -> str | None:
        try:
            self._asked[host].result(max(0.0, self._until_s - time.monotonic()))
        except TimeoutError:
            return f"its name cannot be resolved (no answer within {WITHIN_S:g} s)"
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                return f"there is no such name ({error.strerror})"
            return f"its name cannot be resolved ({error.strerror})"
        except (OSError, UnicodeError) as error:
            return f"its name cannot be resolved ({error})"
        return None

    def first(self, url: object, check: Check) -> Check:
        """A check that asks at a URL; where the name in it has no address, only that is said."""

        def asked() -> Iterable[Finding]:
            why = None if url is None else self.fault(str(url))
            if why is None:
                return check.look()
            return [
                Finding(check.subject, "wrong" if check.needed else "look", f"{host_of(str(url))}: {why}", IS_IT_RIGHT)
            ]

        return replace(check, look=asked)

    def found(self) -> Iterator[Finding]:
        """Where none can be resolved it is the resolver."""
        faults = {host: why for host in self._asked if (why := self._why(host)) is not None}
        if faults and len(faults) == len(self._asked):
            whys = "; ".join(dict.fromkeys(faults.values()))
            yield wrong("names", f"names cannot be resolved: {', '.join(faults)} ({whys})", RESOLVER)
            return
        for host, why in faults.items():
            yield look("names", f"{host} ({self._settings[host]}): {why}", IS_IT_RIGHT)
        if not faults:
            yield ok("names", f"{', '.join(self._asked)} resolved" if self._asked else "no name has to be resolved")


def _resolve(host: str) -> object:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
