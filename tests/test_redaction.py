"""What is taken out of every line, and what is left alone."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from loosh_pipeline.chain.wallet import hotkey_file
from loosh_pipeline.redaction import GONE, NOTHING_KNOWN, Redactor, redactor
from loosh_pipeline.settings import Settings

KEY = 'canary/key"with+signs'
SEED = "0x" + "5e" * 32


LOWER = quote(KEY, safe="").lower()


@pytest.mark.parametrize(
    "form",
    [KEY, quote(KEY), quote(KEY, safe=""), LOWER, html.escape(KEY), json.dumps(KEY)[1:-1], repr(KEY)[1:-1], f"x{KEY}x"],
)
def test_a_known_value_goes_in_every_form_it_is_quoted_in(form: str) -> None:
    assert KEY not in (said := Redactor([KEY])(f"asked with {form} and refused"))
    assert form not in said
    assert GONE in said


def test_the_longest_of_values_that_begin_alike_goes_whole() -> None:
    assert Redactor(["canary-1", "canary-1-and-more"])("canary-1-and-more") == GONE


@pytest.mark.parametrize("word", ["validator", "postgres", "ollama", "12345", "abcd"])
def test_a_secret_that_is_a_word_goes_as_a_word_and_leaves_others_whole(word: str) -> None:
    said = Redactor([word])(f"with {word}, of loosh_{word}.py and {word}ql")
    assert said == f"with {GONE}, of loosh_{word}.py and {word}ql"


@pytest.mark.parametrize(
    ("setting", "url", "stays"),
    [
        ("llm_api_url", "https://x.openai.azure.com/openai/deployments/gpt-4o-mini/v1", "gpt-4o-mini"),
        ("subtensor_address", "wss://host?api-version=2024-06-01", "2024-06-01"),
        ("tables_dir", "s3://bucket/loosh-validator-tables", "loosh-validator-tables"),
    ],
)
def test_words_of_addresses_are_no_secrets(tmp_path: Path, setting: str, url: str, stays: str) -> None:
    settings = Settings(wallet_path=tmp_path, llm_model="any", **{setting: url})
    assert redactor(settings)(f"as {stays} says") == f"as {stays} says"


def test_a_password_of_an_address_goes_as_it_is_sent_too(tmp_path: Path) -> None:
    settings = Settings(wallet_path=tmp_path, database_url="postgresql://loosh:pass%2Fword%26@host/loosh")
    sent = base64.b64encode(b"loosh:pass/word&").decode()
    for form in ("pass%2Fword%26", "pass%2fword%26", "pass/word&", sent):
        assert form not in redactor(settings)(f"asked with {form} and refused")


def test_what_is_too_short_to_be_a_secret_is_not_looked_for() -> None:
    assert Redactor(["abc", ""])("abcdef") == "abcdef"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("redis://:pass@host:6379/0", f"redis://{GONE}@host:6379/0"),
        ("postgresql://user:pa/ss@host/db", "postgresql://user:pa/ss@host/db"),  # no URL: a slash ends the host
        ("https://api/x?api_key=abc123&b=1", f"https://api/x?api_key={GONE}&b=1"),
        ("wss://node/?token=abc", f"wss://node/?token={GONE}"),
        ("{'Authorization': 'Bearer abc.def'}", f"{{'Authorization': 'Bearer {GONE}'}}"),
        ("authorization: Basic dXNlcjpw", f"authorization: Basic {GONE}"),
        ("(b'authorization', b'Bearer abc')", f"(b'authorization', b'Bearer {GONE}')"),
        ("X-API-Key: abc", f"X-API-Key: {GONE}"),
        ('{"secretSeed": "0x12 34"}', f'{{"secretSeed": {GONE}}}'),
        ('"secretPhrase":"bottom drive obey"', f'"secretPhrase":{GONE}'),
        ("sent Bearer abcdef.ghi", f"sent Bearer {GONE}"),
        ("POST https://hooks.slack.com/services/T0/B0/x", f"POST https://hooks.slack.com/{GONE}"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", f"Incorrect API key provided: sk-{GONE}"),
    ],
)
def test_what_looks_like_a_credential_goes_unknown_too(said: str, expected: str) -> None:
    assert NOTHING_KNOWN(said) == expected


@pytest.mark.parametrize(
    "said",
    [
        "the monkey is authorised; keys: 3",
        "https://host:443/v1/models answered HTTP 200",
        "block 0x" + "ab" * 32,
        "hotkey 5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY may not push",
    ],
)
def test_plain_words_addresses_and_hashes_stay(said: str) -> None:
    assert NOTHING_KNOWN(said) == said


def test_every_secret_setting_and_the_wallets_seed_are_known(tmp_path: Path) -> None:
    file = hotkey_file(tmp_path, "validator", "validator")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"secretSeed": SEED, "ss58Address": "5F", "privateKey": "0x" + "ab" * 64}))
    settings = Settings(
        wallet_path=tmp_path,
        challenge_api_key="canary-api",
        challenge_push_api_key="canary-push",
        llm_api_key="canary-llm",
        database_url="postgresql://loosh:canary-db@host/loosh",
        celery_broker_url="redis://:canary-broker@host:6379/0",
        subtensor_address="wss://host/canary-0-in-path?key=canary-in-query",
        subtensor_fallbacks=("wss://user:canary-fallback@host",),
        alert_webhook_url="https://hooks.example/services/T0/canary-hook-of-an-operator",
    )
    redact = redactor(settings)
    said = redact(" ".join(str(value) for value in settings.environment().values()) + f" {SEED} {SEED[2:]} {'ab' * 64}")
    assert "canary" not in said
    assert SEED[2:] not in said
    assert "ab" * 64 not in said
    assert "wss://host" in said


def test_a_wallet_that_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    assert redactor(Settings(wallet_path=tmp_path, llm_api_key="canary-llm"))("canary-llm") == GONE
