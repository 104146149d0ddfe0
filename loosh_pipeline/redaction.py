"""What no log line, message or page may hold: values of secret settings, and what looks like a credential.

The second line of defence: nothing is meant to say a secret. Known values go in whatever form they are quoted; the
wallet's key is known by its digest alone, so that no process keeps it for this.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from loosh_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from loosh_pipeline.settings import Settings

Redact = Callable[[str], str]

GONE = "[secret]"
SHORTEST = 6
"""What is shorter is no secret: it would be found in words."""
SHORTEST_IN_PATH = 16
"""Parts of a URL's path below that are words, unless they hold a digit too."""
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:0x)?([0-9a-fA-F]{128}|[0-9a-fA-F]{64})(?![0-9a-fA-F])")
_LOOKS_LIKE_ONE = re.compile(
    r"""(?ix)
    (?P<userinfo> (?<=://) [^\s/?\#@"'<>]+ (?=@) )
    | (?P<before_query> [?&] (?:[\w.-]*(?:key|token|secret|passw(?:or)?d|signature|credential)|auth|code|sig) = )
      [^&\s"'<>\#]+
    | (?P<before_header> \b (?:proxy-)?authorization ["']? \s* [:=,] \s* (?:b(?=["']))? ["']?
      (?: (?:bearer|basic|token) \s+ )? )
      [^\s"',;)\]}]+
    | (?P<before_key> \b (?:x-api-key|api-key|api_key|apikey|secretseed|secretphrase|privatekey) ["']? \s* [:=,] \s* )
      (?: b?"[^"]*" | b?'[^']*' | [^\s"',;)\]}]+ )
    | (?P<before_bearer> \b bearer \s+ ) [\w.~+/=-]{6,}
    | (?P<before_hook> https?://hooks\.slack\.com/ ) [^\s"'<>]+
    | (?P<before_openai> \b sk- ) [\w-]{12,}
    """
)
_MAY_HOLD_ONE = re.compile(r"(?i)://|key|auth|bearer|secret|sk-|[?&]\w+=")


class Redactor:
    """Replaces secrets in a text. `digests`: SHA-256 of keys whose hexadecimal form is looked for."""

    def __init__(self, values: Iterable[str] = (), digests: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        self._digests = frozenset(digests)

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(GONE, text)
        if self._digests:
            text = _HEX.sub(self._of_the_wallet, text)
        return _LOOKS_LIKE_ONE.sub(_without, text) if _MAY_HOLD_ONE.search(text) else text

    def _of_the_wallet(self, found: re.Match[str]) -> str:
        return GONE if _digest(found[1]) in self._digests else found[0]


def redactor(settings: Settings) -> Redactor:
    """What takes out the secrets of these settings and of the wallet's hotkey."""
    return Redactor(secret_values(settings), wallet_digests(settings))


def secret_values(settings: Settings) -> set[str]:
    """Values of secret settings, and what endpoints among all settings hold of credentials."""
    found: set[str] = set()
    for _, value in settings:
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            found |= set(_in_url(secret)) if "://" in secret else {secret}
        for each in value if isinstance(value, tuple) else (value,):
            if "://" in (text := str(each)):
                found |= set(_in_url(text))
    hook = getattr(settings, "alert_webhook_url", None)
    return found | ({hook.get_secret_value()} if isinstance(hook, SecretStr) else set())


def wallet_digests(settings: Settings) -> set[str]:
    """Digests of the hotkey's seed and private key; none where the file cannot be read."""
    from loosh_pipeline.chain.wallet import hotkey_file

    try:
        stored = json.loads(hotkey_file(settings.wallet_path, settings.wallet_name, settings.hotkey_name).read_bytes())
    except (ConfigError, OSError, ValueError):
        return set()
    if not isinstance(stored, dict):
        return set()
    keys = (stored.get(name) for name in ("secretSeed", "privateKey"))
    return {_digest(key.removeprefix("0x")) for key in keys if isinstance(key, str)}


def _digest(key: str) -> str:
    return hashlib.sha256(key.lower().encode()).hexdigest()


def _forms(value: str) -> Iterator[str]:
    """A value as it is, and as URLs, JSON and `repr` quote it."""
    yield from (value, quote(value, safe=""), quote(value), unquote(value), json.dumps(value)[1:-1], repr(value)[1:-1])


def _in_url(url: str) -> Iterator[str]:
    """What may be a credential in a URL: its password, values of its query, and parts of the path that are no words."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    words = [parts.password or "", *(pair.partition("=")[2] for pair in re.split(r"[&;]", parts.query))]
    for word in re.split("/", parts.path):
        if len(word) >= SHORTEST_IN_PATH or (len(word) >= SHORTEST and re.search(r"\d", word) and "." not in word):
            words.append(word)
    yield from (word for word in words if len(word) >= SHORTEST)


def _without(found: re.Match[str]) -> str:
    before = next((text for name, text in found.groupdict().items() if name.startswith("before") and text), "")
    return before + GONE


NOTHING_KNOWN = Redactor()
"""Without settings: what looks like a credential goes all the same."""
