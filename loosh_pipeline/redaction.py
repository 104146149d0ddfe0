"""What no log line, message or page may hold: values of secret settings, and what looks like a credential.

The second line of defence: nothing is meant to say a secret. Known values go in whatever form they are quoted; the
wallet's key is known by its digest alone, so that no process keeps it for this.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import SecretStr

from loosh_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from loosh_pipeline.settings import Settings

Redact = Callable[[str], str]

GONE = "[secret]"
PASSES = 6
"""What is taken out may join what stood beside it."""
SHORTEST = 4
"""What is shorter would be found everywhere; `loosh doctor` asks for a longer one."""
SHORTEST_WITHIN_WORDS = 8
"""What is shorter, or looks like a word, is only looked for as one."""
SHORTEST_IN_PATH = 16
"""Parts of a URL's path below that are words, unless they hold a digit too."""
_KEY_LIKE = re.compile(r"(?i)key|token|secret|passw|signature|credential|^(?:auth|code|sig)$")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:0x)?([0-9a-fA-F]{128}|[0-9a-fA-F]{64})(?![0-9a-fA-F])")
_LOOKS_LIKE_ONE = re.compile(
    r"""(?ix)
    (?P<userinfo> (?<=://) [^\s/?\#@"'<>]+ (?=@) )
    | (?P<before_query> [?&] (?:[\w.-]*(?:key|token|secret|passw(?:or)?d|signature|credential)|auth|code|sig) = )
      [^&\s"'<>\#]+
    | (?P<before_header> \b (?:proxy-)?authorization ["']? \s* [:=,] \s* (?:b(?=["']))? ["']?
      (?: (?:bearer|basic|token) \s+ )? )
      (?: \[secret\] | [^\s"',;)\]}] )+
    | (?P<before_key> \b (?:x-api-key|api-key|api_key|apikey|secretseed|secretphrase|privatekey) ["']? \s* [:=,] \s* )
      (?: b?"[^"]*" | b?'[^']*' | (?: \[secret\] | [^\s"',;)\]}] )+ )
    | (?P<before_bearer> \b bearer \s+ ) [\w.~+/=-]{6,}
    | (?P<before_hook> https?://hooks\.slack\.com/ ) [^\s"'<>]+
    | (?P<before_openai> \b sk- ) [\w-]{12,}
    """
)
_MAY_HOLD_ONE = re.compile(r"(?i)://|key|auth|bearer|secret|sk-|[?&]\w+=")


class Redactor:
    """Replaces secrets in a text. `digests`: SHA-256 of keys whose hexadecimal form is looked for."""

    def __init__(self, values: Iterable[str] = (), digests: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST and form != GONE}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(_searched, longest_first))) if forms else None
        self._digests = frozenset(digests)

    def __call__(self, text: str) -> str:
        """The text without secrets; once more, it changes nothing."""
        for _ in range(PASSES):
            before, text = text, self._once(text)
            if text == before:
                break
        return text

    def _once(self, text: str) -> str:
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
    """Values of secret settings, and what addresses among all settings hold of credentials."""
    found: set[str] = set()
    for _, value in settings:
        secret = value.get_secret_value() if isinstance(value, SecretStr) else None
        if secret is not None and "://" not in secret:
            found.add(secret)
        for each in value if isinstance(value, tuple) else (secret or value,):
            found |= set(_in_url(str(each)))
    for url in settings.chain_endpoints:
        found |= set(_in_path(url))
    if settings.alert_webhook_url is not None:
        hook = settings.alert_webhook_url.get_secret_value()
        found |= {hook, *_in_path(hook)}
    return found


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
    """A value as it is, and as URLs, HTML, JSON and `repr` quote it."""
    for said in {value, unquote(value)}:
        yield from (said, html.escape(said), json.dumps(said)[1:-1], repr(said)[1:-1])
        for quoted in (quote(said, safe=""), quote(said)):
            yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))


def _searched(form: str) -> str:
    """The expression for a form: a word is taken out where it stands alone, and not out of other words."""
    if form in GONE:  # a key that is no better than that, which must not be looked for in what took its place
        return rf"(?<![\w\[]){re.escape(form)}(?![\w\]])"
    like_a_word = len(form) < SHORTEST_WITHIN_WORDS or (form.isalpha() and form.islower())
    return rf"(?<!\w){re.escape(form)}(?!\w)" if like_a_word else re.escape(form)


def _in_url(url: str) -> Iterator[str]:
    """What is a credential in an address: its password, also as it is sent, and values that its query calls keys."""
    if (parts := _split(url)) is None:
        return
    if parts.password:
        yield parts.password
        sent = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        yield base64.b64encode(sent.encode()).decode()
    for pair in re.split(r"[&;]", parts.query):
        name, _, value = pair.partition("=")
        if value and _KEY_LIKE.search(name):
            yield value


def _in_path(url: str) -> Iterator[str]:
    """What may be a key in the path of an address whose path holds one: parts that are no words."""
    if (parts := _split(url)) is None:
        return
    for word in parts.path.split("/"):
        if len(word) >= SHORTEST_IN_PATH or (len(word) >= 6 and re.search(r"\d", word) and "." not in word):
            yield word
    if parts.query and "=" not in parts.query:
        yield parts.query


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url) if "://" in url else None
    except ValueError:
        return None


def _without(found: re.Match[str]) -> str:
    before = next((text for name, text in found.groupdict().items() if name.startswith("before") and text), "")
    return before + GONE


NOTHING_KNOWN = Redactor()
"""Without settings: what looks like a credential goes all the same."""
