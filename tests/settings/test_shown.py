"""What people see of the settings: `loosh config` and env.example."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.settings import SECTIONS, Settings, get_settings
from loosh_pipeline.settings.shown import MASK, env_example, holds_secrets
from tests.settings.test_model import VALUES

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "DATABASE_URL": "postgresql://u:hunter2@h/d",
    "CHALLENGE_API_KEY": "hunter2",
    "CHALLENGE_PUSH_API_KEY": "hunter2",
    "LLM_API_KEY": "hunter2",
    "CELERY_BROKER_URL": "redis://:hunter2@h:6379/0",
    "SUBTENSOR_ADDRESS": "wss://h.example:443/hunter2",
    "SUBTENSOR_FALLBACKS": "wss://a.example/hunter2,wss://b.example/?key=hunter2",
    "EMBEDDING_API_KEY": "hunter2",
    "EMBEDDING_MODEL": "https://e.example/v1",
}


def run(*arguments: str) -> str:
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", *arguments])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_env_example_is_what_the_settings_say() -> None:
    assert (ROOT / "env.example").read_text(encoding="utf-8") == env_example(), "run `make env-example`"
    assert run("example") == env_example()


def test_every_setting_has_a_section_and_a_doc() -> None:
    in_sections = [name for section in SECTIONS for name in section.model_fields]
    assert sorted(in_sections) == sorted(Settings.model_fields), "a section that SECTIONS does not list"
    undescribed = [name for name, field in Settings.model_fields.items() if len(field.description or "") < 8]
    assert undescribed == []


def test_env_example_lists_every_setting_once() -> None:
    named = re.findall(r"^([A-Z][A-Z0-9_]*)=", env_example(), re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_every_value_that_can_be_shown_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (text, _) in VALUES.items():
        monkeypatch.setenv(name.upper(), text)
    shown = {row["name"]: row for row in json.loads(run("show", "--json"))["settings"]}
    assert shown.keys() == {name.upper() for name in VALUES}
    assert {row["source"] for row in shown.values()} == {"environment"}
    assert shown["NETUID"]["value"] == "0"
    assert shown["PAGES_PUBLIC"]["value"] == "true"
    assert shown["CHALLENGE_API_KEY"]["value"] == MASK
    assert shown["SUBTENSOR_FALLBACKS"]["value"] == "wss://y:443,ws://z"


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)
    for said in (run("show"), run("show", "--json"), run("check", "--json")):
        assert "hunter2" not in said
    assert all(holds_secrets(name) for name in SECRETS if name != "EMBEDDING_MODEL")
    assert holds_secrets("OPENAI_API_KEY")
    assert not holds_secrets("NETUID")
    assert not holds_secrets("NO_SETTING")


@pytest.mark.parametrize("name", sorted(name for name in SECRETS if name != "EMBEDDING_MODEL"))
def test_nor_is_one_that_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://h.example/hunter2 hunter2")
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", "check"])
    assert "hunter2" not in ended.output


ADDRESSES = [
    name
    for name, field in Settings.model_fields.items()
    if name.endswith(("_url", "_address", "_fallbacks", "_backend")) or name in ("tables_dir", "embedding_model")
    if name != "embedder_backend"
]


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "https://hunter2:hunter2@h.example/?token=hunter2",
        "http:/user:hunter2@:host/v1",
        "ftp://user:hunter2@h.example/?token=hunter2",
        "s3://KEY:hunter2@bucket/x",
        "wss://u:hunter2@h.example:443/",
    ],
)
def test_what_somebody_put_into_an_address_is_shown_neither_right_nor_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    monkeypatch.setenv(name.upper(), address)
    monkeypatch.setenv("LLM_MODEL", "m")
    for command in (["show"], ["show", "--json"], ["check"]):
        get_settings.cache_clear()
        ended = CliRunner().invoke(app, ["config", *command])
        assert "hunter2" not in ended.output + ended.stderr, ended.output


def test_parameters_of_a_model_are_shown_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARAMS", '{"extra_headers": {"x-api-key": "hunter2"}, "top_p": 0.9}')
    said = run("show", "--json")
    assert "hunter2" not in said
    assert "extra_headers: ********, top_p: ********" in said
    assert "hunter2" not in repr(get_settings())


def test_an_error_names_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_CHALLENGES", "many")
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", "check"])
    assert "MAX_CONCURRENT_CHALLENGES='many': Input should be a valid integer" in ended.output


def test_a_neighbours_link_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_PORT", "tcp://10.0.0.1:80")
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", "check"])
    assert "EMBEDDER_PORT='tcp://10.0.0.1:80': this is what Docker or Kubernetes tell" in ended.output


def test_where_a_value_comes_from_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NETUID=5\nAPI_PORT=8001\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.setenv("API_PORT", "8002")
    monkeypatch.setenv("OPENAI_MODEL", "m")
    rows = {row["name"]: row for row in json.loads(run("show", "--json"))["settings"]}
    found = {name: (rows[name]["value"], rows[name]["source"]) for name in ("NETUID", "API_PORT", "LLM_MODEL")}
    assert found == {
        "NETUID": ("5", ".env"),
        "API_PORT": ("8002", "environment"),
        "LLM_MODEL": ("m", "OPENAI_MODEL (environment)"),
    }
    assert rows["API_HOST"]["source"] == "default"
    changed = run("show", "--changed")
    assert "NETUID=5   from .env; default: 78" in changed
    assert "API_HOST" not in changed


def test_settings_can_be_asked_for_by_part_of_their_name() -> None:
    assert re.findall(r"^  ([A-Z_]+)=", run("show", "wallet", "netuid"), re.MULTILINE) == [
        "NETUID",
        "WALLET_PATH",
        "WALLET_NAME",
    ]


def test_a_name_that_no_setting_has_is_an_error() -> None:
    ended = CliRunner().invoke(app, ["config", "show", "netuid", "nope"])
    assert (ended.exit_code, "no setting's name holds nope" in ended.output) == (2, True)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "CHALLENGE_API_URL",
            "challenge.loosh.ai",
            "CHALLENGE_API_URL='challenge.loosh.ai': an address begins with https",
        ),
        ("ALERT_WEBHOOK_URL", "ftp://h/x", "error: wrong settings: ALERT_WEBHOOK_URL begins with https://"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud': use one of"),
    ],
)
def test_what_is_wrong_is_said_once(monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str) -> None:
    monkeypatch.setenv(name, text)
    get_settings.cache_clear()
    assert said in CliRunner().invoke(app, ["config", "check"]).output


def test_a_check_ends_with_2_and_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "can be used" in run("check")
    assert json.loads(run("check", "--json")) == {"ok": True, "warnings": []}
    monkeypatch.setenv("API_PORT", "eighty")
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", "check"])
    assert ended.exit_code == 2
    assert "API_PORT='eighty': Input should be a valid integer" in ended.output


def test_a_database_of_the_existing_validator_is_told_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "validator.db")) as connection:
        connection.execute("CREATE TABLE evaluation_results (id INTEGER PRIMARY KEY)")
    monkeypatch.setenv("DB_PATH", str(tmp_path / "validator.db"))
    get_settings.cache_clear()
    ended = CliRunner().invoke(app, ["config", "check"])
    assert (ended.exit_code, "loosh import-validator" in ended.output) == (2, True)
