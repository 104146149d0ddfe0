"""Settings: the network's names, empty means unset, and another process gets exactly the same."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from loosh_pipeline.settings import PORTS, UNSET, Present, Settings, get_settings

ROOT = Path(__file__).resolve().parents[2]

ALICE = "5CcyqxXnJucaCnQQvvUg5EPzj1uoNAxACZvzArHw5aVDvgNH"
BOB = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"

VALUES: dict[str, tuple[str, Any]] = {
    "loosh_home": ("/data/loosh", Path("/data/loosh")),
    "db_path": ("/data/v.db", Path("/data/v.db")),
    "users_db_path": ("/data/u.db", Path("/data/u.db")),
    "database_url": ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
    "dagster_database_url": ("postgresql+psycopg2://u@h/g", "postgresql+psycopg2://u@h/g"),
    "tables_dir": ("s3://bucket/t", "s3://bucket/t"),
    "heatmaps_dir": ("/data/h", Path("/data/h")),
    "models_dir": ("/data/m", Path("/data/m")),
    "api_host": ("10.0.0.7", "10.0.0.7"),
    "api_port": ("8100", 8100),
    "public_url": ("https://v.example/", "https://v.example/"),
    "dagster_url": ("http://d:3000/", "http://d:3000/"),
    "source_url": ("https://e.org/blob/v1", "https://e.org/blob/v1"),
    "embedder_url": ("http://e:1/", "http://e:1/"),
    "embedder_threads": ("3", 3),
    "embedder_nice": ("4", 4),
    "intake_auth": ("signature-optional", "signature-optional"),
    "intake_hotkeys": (f"{ALICE}, {BOB},{ALICE}", (ALICE, BOB)),
    "challenge_push_api_key": ("key four", "key four"),
    "pages_token": ("a token of 16 or more", "a token of 16 or more"),
    "intake_local_auth": ("true", True),
    "trusted_proxies": ("10.0.0.9, 10.1.0.0/16", ("10.0.0.9/32", "10.1.0.0/16")),
    "intake_require_binding": ("true", True),
    "pages_public": ("true", True),
    "intake_window_s": ("30", 30.0),
    "intake_max_body_bytes": ("2048", 2048),
    "intake_max_prompt_chars": ("100", 100),
    "intake_max_message_chars": ("101", 101),
    "intake_max_json_chars": ("2000", 2000),
    "intake_max_json_depth": ("32", 32),
    "intake_max_tokens": ("4096", 4096),
    "intake_rate_per_address": ("2.5", 2.5),
    "intake_rate_per_hotkey": ("1.5", 1.5),
    "intake_sessions_per_hotkey": ("2", 2),
    "intake_max_sessions": ("100", 100),
    "intake_max_backlog": ("1000", 1000),
    "reported_version": ("1.2.8", "1.2.8"),
    "unconsumed_after_s": ("60", 60.0),
    "chain_unseen_after_s": ("7200", 7200.0),
    "embedding_model": ("http://m/v1", "http://m/v1"),
    "embedding_model_name": ("all-mpnet", "all-mpnet"),
    "embedding_api_key": ("key three", "key three"),
    "embedder_backend": ("torch", "torch"),
    "dagster_host": ("10.0.0.8", "10.0.0.8"),
    "embedder_host": ("10.0.0.9", "10.0.0.9"),
    "dagster_port": ("3100", 3100),
    "code_server_port": ("4300", 4300),
    "embedder_port": ("8900", 8900),
    "max_concurrent_runs": ("12", 12),
    "worker_max_runs": ("50", 50),
    "celery_broker_url": ("redis://x:6379/0", "redis://x:6379/0"),
    "max_run_attempts": ("2", 2),
    "stalled_after_s": ("7.5", 7.5),
    "present": ("later", Present.LATER),
    "netuid": ("0", 0),
    "subtensor_address": ("wss://x:443", "wss://x:443"),
    "subtensor_fallbacks": ("wss://y:443, ws://z", ("wss://y:443", "ws://z")),
    "chain_stale_after_s": ("60", 60.0),
    "wallet_path": ("/keys", Path("/keys")),
    "wallet_name": ("w", "w"),
    "hotkey_name": ("h", "h"),
    "chain_timeout_s": ("9", 9.0),
    "metagraph_refresh_s": ("10", 10.0),
    "min_miners": ("2", 2),
    "max_miners": ("9", 9),
    "availability_refresh_s": ("90", 90.0),
    "challenge_timeout_s": ("12", 12.0),
    "max_response_bytes": ("2048", 2048),
    "allow_private_addresses": ("true", True),
    "challenge_api_url": ("https://c.example/", "https://c.example/"),
    "challenge_api_key": ("key one", "key one"),
    "allow_clear_text_fallback": ("true", True),
    "heatmap_upload": ("true", True),
    "test_mode": ("true", True),
    "network_view_refresh_s": ("60", 60.0),
    "scoring_profiles": ("network, robust", ("network", "robust")),
    "pay_profile": ("network", "network"),
    "shadow_max_change": ("0.1", 0.1),
    "context_rounds": ("200", 200),
    "context_refresh_h": ("1.5", 1.5),
    "emissions_lookback_h": ("48", 48.0),
    "weights_interval_blocks": ("100", 100),
    "emissions_half_life_h": ("6", 6.0),
    "emissions_full_evidence_rounds": ("20", 20.0),
    "emissions_emergency_lookback_h": ("72", 72.0),
    "weights_degraded_at": ("0.5", 0.5),
    "weights_emergency_at": ("0.95", 0.95),
    "weights_min_evidence_rounds": ("5", 5),
    "weights_sybil_evidence": ("false", False),
    "weights_max_penalised_share": ("0.2", 0.2),
    "weights_entity_cap": ("0.1", 0.1),
    "weights_max_share": ("0.2", 0.2),
    "weights_burn_hotkey": (ALICE, ALICE),
    "weights_burn_share": ("0.3", 0.3),
    "weights_emergency_uniform": ("true", True),
    "weights_min_miners": ("4", 4),
    "weights_max_flagged_share": ("0.4", 0.4),
    "weights_max_change": ("0.3", 0.3),
    "weights_mixed_scorers": ("true", True),
    "canaries_file": ("/data/canaries.jsonl", Path("/data/canaries.jsonl")),
    "canary_rate": ("0.02", 0.02),
    "canary_times": ("2", 2),
    "weights_min_rounds": ("5", 5),
    "llm_api_url": ("http://l/v1", "http://l/v1"),
    "llm_api_key": ("key two", "key two"),
    "llm_model": ("llama", "llama"),
    "llm_timeout_s": ("3", 3.0),
    "enable_narrative_generation": ("false", False),
    "llm_provider": ("azure_openai", "azure_openai"),
    "llm_api_version": ("2024-10-21", "2024-10-21"),
    "llm_deployment": ("fast", "fast"),
    "llm_temperature": ("1", 1.0),
    "llm_max_tokens": ("300", 300),
    "llm_params": ('{"top_p": 0.9}', '{"top_p": 0.9}'),
    "loosh_services": ("ingress, worker,ingress", ("ingress", "worker")),
    "retain_days": ("7", 7.0),
    "retain_challenges": ("500", 500),
    "retain_upkeep_days": ("1", 1.0),
    "retain_weights_days": ("30", 30.0),
    "retain_tables_days": ("400", 400.0),
    "compact_after_days": ("3", 3.0),
    "log_level": ("debug", "DEBUG"),
    "log_format": ("json", "json"),
    "log_file": ("/var/log/loosh.log", Path("/var/log/loosh.log")),
    "metrics_public": ("true", True),
    "alert_webhook_url": ("https://hooks.example/x", "https://hooks.example/x"),
    "alert_repeat_h": ("12", 12.0),
}


def plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, str | int | float | Path | tuple | None) else str(value)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_every_setting_is_read_from_its_upper_case_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert VALUES.keys() == Settings.model_fields.keys()
    set_all(monkeypatch, {name.upper(): text for name, (text, _) in VALUES.items()})
    settings = Settings()
    assert {name: plain(getattr(settings, name)) for name in VALUES} == {name: v for name, (_, v) in VALUES.items()}
    defaults = Settings.model_construct()
    same = [name for name in VALUES if getattr(settings, name) == getattr(defaults, name)]
    assert same == [], "each value differs from its default, or the test shows nothing"


def test_empty_values_count_as_unset(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    set_all(monkeypatch, {name.upper(): "" for name in VALUES if name != "loosh_home"})
    assert Settings() == settings


@pytest.mark.parametrize("given", [{}, {name: text for name, (text, _) in VALUES.items()}])
def test_another_process_gets_exactly_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = Settings(**given)
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "DATABASE_URL=postgresql://production/db\nCHALLENGE_API_KEY=secret\nDB_PATH=/prod.db\nNETUID=1\n"
        f"INTAKE_HOTKEYS={BOB}\nLLM_MODEL=m\nSUBTENSOR_FALLBACKS=ws://f\n"
    )
    set_all(monkeypatch, settings.environment())
    assert Settings(_env_file=dotenv) == settings


def test_what_has_no_value_is_said_so_not_left_to_a_dotenv(settings: Settings) -> None:
    environment = settings.environment()
    assert environment["DATABASE_URL"] == environment["CHALLENGE_API_KEY"] == UNSET
    assert list(environment) == [name.upper() for name in Settings.model_fields]


def test_a_dotenv_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("netuid=7\nAPI_PORT=8123\nSOMETHING_ELSE=1\n# a comment\nDB_PATH=\n")
    monkeypatch.setenv("API_PORT", "8124")
    settings = Settings(_env_file=dotenv)
    assert (settings.netuid, settings.api_port, settings.db_path) == (7, 8124, None)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"API_PORT": "70000"}, "api_port"),
        ({"API_PORT": "eighty"}, "api_port"),
        ({"NETUID": "-1"}, "netuid"),
        ({"SUBTENSOR_FALLBACKS": "wss://a:443 ws://b"}, "a chain endpoint starts with ws:// or wss://"),
        ({"SUBTENSOR_FALLBACKS": "wss://a:443,http://b"}, "'http://b': a chain endpoint starts with ws:// or wss://"),
        ({"CHAIN_STALE_AFTER_S": "1"}, "chain_stale_after_s"),
        ({"CHAIN_TIMEOUT_S": "151"}, "chain_timeout_s"),
        ({"CHALLENGE_TIMEOUT_S": "0"}, "challenge_timeout_s"),
        ({"CHALLENGE_TIMEOUT_S": "inf"}, "finite number"),
        ({"STALLED_AFTER_S": "nan"}, "finite number"),
        ({"PUBLIC_URL": "validator.example"}, "public_url"),
        ({"ALLOW_PRIVATE_ADDRESSES": "perhaps"}, "allow_private_addresses"),
        ({"ALLOW_CLEAR_TEXT_FALLBACK": "perhaps"}, "allow_clear_text_fallback"),
        ({"NETWORK_VIEW_REFRESH_S": "29"}, "network_view_refresh_s"),
        ({"LOG_FORMAT": "xml"}, "'text' or 'json'"),
        ({"ALERT_WEBHOOK_URL": "hooks.example/canary"}, "ALERT_WEBHOOK_URL begins with https://"),
        ({"ALERT_REPEAT_H": "0"}, "alert_repeat_h"),
        ({"LOG_LEVEL": "loud"}, "use one of DEBUG, INFO, WARNING, ERROR"),
        ({"MIN_MINERS": "9"}, r"MIN_MINERS \(9\) exceeds MAX_MINERS \(7\)"),
        ({"LLM_API_URL": "http://l/v1"}, "LLM_MODEL is not; name the model"),
        ({"LLM_PROVIDER": "ollama"}, "LLM_PROVIDER is ollama but LLM_MODEL is not set"),
        ({"LLM_PROVIDER": "bard"}, "'openai', 'azure_openai' or 'ollama'"),
        ({"LLM_PROVIDER": "azure_openai", "LLM_MODEL": "m", "LLM_API_KEY": "k"}, "needs LLM_API_URL, the resource's"),
        ({"LLM_PROVIDER": "azure_openai", "LLM_MODEL": "m", "LLM_API_URL": "https://a"}, "needs LLM_API_KEY"),
        ({"LLM_API_VERSION": "2024-10-21"}, "LLM_API_VERSION is set, which only Azure has"),
        ({"LLM_API_URL": "http://u:hunter2@l/v1", "LLM_MODEL": "m"}, "an address here holds no user and password"),
        ({"LLM_API_URL": "http://l/v1?key=hunter2", "LLM_MODEL": "m"}, "'http://l/v1' has a query"),
        ({"LLM_MODEL": "m", "LLM_API_KEY": "kéy"}, "LLM_API_KEY begins or ends with a space or holds"),
        ({"LLM_PARAMS": "top_p=1"}, "is no JSON object"),
        ({"LLM_PARAMS": "[1]"}, "is no JSON object; write one"),
        ({"LLM_PARAMS": '{"stream": true}', "LLM_API_URL": "http://l", "LLM_MODEL": "m"}, "LLM_PARAMS names stream"),
        ({"LLM_TIMEOUT_S": "301"}, "less than or equal to 300"),
        ({"EMBEDDING_MODEL": "s3://bucket/model"}, "embedding_model"),
        ({"EMBEDDING_MODEL": "https://u:p@e/v1"}, "holds no user and password; use EMBEDDING_API_KEY"),
        ({"EMBEDDING_MODEL_NAME": "all-mpnet"}, r"EMBEDDING_MODEL \('builtin'\) is not the URL of one"),
        ({"EMBEDDING_API_KEY": "hunter2", "EMBEDDING_MODEL": "/m"}, "are for an embedding server"),
        ({"EMBEDDER_URL": "ftp://e/v1"}, "URL scheme should be 'http', 'https' or 'unix'"),
        ({"EMBEDDER_URL": "unix://run/e.sock"}, "a unix socket is named by its whole path, such as unix:///run"),
        ({"EMBEDDER_NICE": "20"}, "less than or equal to 19"),
        ({"EMBEDDER_BACKEND": "cuda"}, "'auto', 'torch' or 'onnx'"),
        ({"DATABASE_URL": "sqlite:///here.db"}, "name it with DB_PATH"),
        ({"SCORING_PROFILES": "robust,fair"}, "SCORING_PROFILES names fair; there are robust, network"),
        ({"SCORING_PROFILES": ","}, "PAY_PROFILE is 'robust', which SCORING_PROFILES"),
        ({"PAY_PROFILE": "network"}, r"which SCORING_PROFILES \(robust\) does not name"),
        ({"PAY_PROFILE": "fair", "SCORING_PROFILES": "robust,fair"}, "SCORING_PROFILES names fair"),
        ({"CONTEXT_ROUNDS": "19"}, "context_rounds"),
        ({"WEIGHTS_BURN_SHARE": "0.3"}, "WEIGHTS_BURN_HOTKEY is None and WEIGHTS_BURN_SHARE is 0.3; set both, or"),
        ({"WEIGHTS_BURN_HOTKEY": ALICE}, "WEIGHTS_BURN_SHARE is 0; set both, or neither"),
        ({"WEIGHTS_BURN_HOTKEY": "owner", "WEIGHTS_BURN_SHARE": "1"}, "WEIGHTS_BURN_HOTKEY: hotkey 'owner' is not"),
        ({"WEIGHTS_DEGRADED_AT": "0.95"}, r"WEIGHTS_DEGRADED_AT \(0.95\) exceeds WEIGHTS_EMERGENCY_AT \(0.9\)"),
        ({"WEIGHTS_EMERGENCY_AT": "1.1"}, "weights_emergency_at"),
        ({"WEIGHTS_ENTITY_CAP": "0"}, "weights_entity_cap"),
        ({"WEIGHTS_MAX_SHARE": "0"}, "weights_max_share"),
        ({"WEIGHTS_MAX_PENALISED_SHARE": "-0.1"}, "weights_max_penalised_share"),
        ({"WEIGHTS_MIN_EVIDENCE_ROUNDS": "0"}, "weights_min_evidence_rounds"),
        ({"EMISSIONS_HALF_LIFE_H": "0"}, "emissions_half_life_h"),
        ({"EMISSIONS_FULL_EVIDENCE_ROUNDS": "0.5"}, "emissions_full_evidence_rounds"),
        ({"CONTEXT_REFRESH_H": "0"}, "context_refresh_h"),
        ({"CANARY_RATE": "0.02"}, "CANARIES_FILE names no file"),
        ({"INTAKE_AUTH": "perhaps"}, "'required', 'signature-optional' or 'open'"),
        ({"INTAKE_AUTH": "open"}, r"API_HOST \(0.0.0.0\); bind it to 127.0.0.1"),
        ({"INTAKE_HOTKEYS": f"{ALICE},alice"}, "INTAKE_HOTKEYS: hotkey 'alice' is not an SS58 address"),
        ({"INTAKE_MAX_JSON_DEPTH": "1000"}, "intake_max_json_depth"),
        ({"INTAKE_RATE_PER_ADDRESS": "0"}, "intake_rate_per_address"),
        ({"INTAKE_MAX_BACKLOG": "0"}, "intake_max_backlog"),
        ({"REPORTED_VERSION": "1.2.7"}, "the network wants 1.2.8 or newer"),
        ({"REPORTED_VERSION": "newest"}, "the network wants 1.2.8 or newer"),
        ({"API_PORT": "3000"}, "API_PORT, DAGSTER_PORT must all be different ports"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(ValidationError, match=message):
        Settings()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_an_open_intake_is_for_this_machine(host: str) -> None:
    assert Settings(intake_auth="open", api_host=host).intake_auth == "open"


@pytest.mark.parametrize(
    ("told", "version"), [("1.2.8", "1.2.8"), ("2.0.0-rc.1", "2.0.0-rc.1"), (None, version("loosh-pipeline"))]
)
def test_the_network_is_told_a_version_it_takes(told: str | None, version: str) -> None:
    assert Settings(reported_version=told).version_told == version


def test_secrets_are_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        {"CHALLENGE_API_KEY": "hunter2", "LLM_API_KEY": "hunter2", "DATABASE_URL": "postgresql://u:hunter2@h/d"},
    )
    set_all(monkeypatch, {"EMBEDDING_MODEL": "http://m/v1", "EMBEDDING_API_KEY": "hunter2"})
    set_all(monkeypatch, {"CHALLENGE_PUSH_API_KEY": "hunter2"})
    settings = Settings()
    assert "hunter2" not in repr(settings) + str(settings)


def test_places_are_in_the_home_unless_they_are_named(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert settings.home == own_home
    assert settings.inbox_url == f"sqlite:///{own_home}/validator.db"
    assert settings.users_url == f"sqlite:///{own_home}/users.db"
    assert settings.tables_root == f"{own_home}/tables"
    assert settings.heatmaps_root == own_home / "heatmaps"

    monkeypatch.setenv("HOME", "/home/v")
    named = Settings(db_path="~/v.db", users_db_path="~/u.db", heatmaps_dir="~/h", tables_dir="s3://b/t")
    assert (named.inbox_url, named.users_url) == ("sqlite:////home/v/v.db", "sqlite:////home/v/u.db")
    assert (named.heatmaps_root, named.tables_root) == (Path("/home/v/h"), "s3://b/t")
    assert Settings(database_url="postgresql://h/d", db_path="/v.db").inbox_url == "postgresql://h/d"


@pytest.mark.parametrize(
    ("given", "host", "url"),
    [
        ({}, "127.0.0.1", "http://127.0.0.1:8000"),
        ({"api_host": "10.0.0.7"}, "10.0.0.7", "http://10.0.0.7:8000"),
        ({"api_host": "::"}, "::1", "http://[::1]:8000"),
        ({"public_url": "https://v.example/"}, "127.0.0.1", "https://v.example"),
    ],
)
def test_the_ingress_is_reached_where_it_listens(given: dict[str, Any], host: str, url: str) -> None:
    settings = Settings(**given)
    assert (settings.api_reached_at, settings.ingress_url) == (host, url)
    assert Settings(**given | {"public_url": None}).local_url in ("http://[::1]:8000", f"http://{host}:8000")


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("builtin", None),
        ("/models/all-mpnet-base-v2", None),
        ("http://e:8080/v1/", "http://e:8080/v1"),
        ("https://e", "https://e"),
    ],
)
def test_the_embedding_model_is_here_or_on_a_server(model: str, url: str | None) -> None:
    assert Settings(embedding_model=model).embedding_url == url


def test_models_are_kept_in_the_home_unless_a_place_is_named(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().models_root == own_home / "models"
    monkeypatch.setenv("HOME", "/home/v")
    assert Settings(models_dir="~/m").models_root == Path("/home/v/m")


@pytest.mark.parametrize(
    ("listed", "profiles"),
    [
        ("robust", ("robust",)),
        ("robust,network", ("robust", "network")),
        (" network ,, robust ,network", ("network", "robust")),
        (("network", "robust"), ("network", "robust")),
    ],
)
def test_profiles_are_a_list_without_repetition(listed: Any, profiles: tuple[str, ...]) -> None:
    assert Settings(scoring_profiles=listed).scoring_profiles == profiles


def test_settings_are_read_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings() is get_settings()
    with pytest.raises(ValidationError, match="frozen"):
        get_settings().netuid = 1  # type: ignore[misc]


def test_the_ports_are_settings() -> None:
    assert set(PORTS) == {name for name in Settings.model_fields if name.endswith("_port")}


def test_env_example_as_it_stands_is_the_defaults(own_home: Path) -> None:
    example = Settings(_env_file=ROOT / "env.example")
    assert example == Settings()


def test_the_embedder_may_be_on_a_unix_socket() -> None:
    assert str(Settings(embedder_url="unix:///run/loosh/e.sock").embedder_url) == "unix:///run/loosh/e.sock"


@pytest.mark.parametrize("name", ["EMISSIONS_LOOKBACK_H", "EMISSIONS_EMERGENCY_LOOKBACK_H"])
def test_rounds_that_make_weights_are_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RETAIN_TABLES_DAYS", "40")
    monkeypatch.setenv(name, "936")
    Settings()
    monkeypatch.setenv(name, "937")
    with pytest.raises(ValidationError, match=f"RETAIN_TABLES_DAYS=40 deletes rounds that {name}=937"):
        Settings()
    monkeypatch.delenv("RETAIN_TABLES_DAYS")
    monkeypatch.setenv(name, "9000")
    with pytest.raises(ValidationError, match="less than or equal to 8760"):
        Settings()
