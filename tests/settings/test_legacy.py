"""A `.env` of the existing validator: every name works or is told about, none is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.settings.given import everything_given
from loosh_pipeline.settings.legacy import CHANGED, GONE, OF_SCRIPTS, RENAMED, older_warnings

DOCUMENTED = (
    "NETUID",
    "ENABLE_NARRATIVE_GENERATION",
    "SUBTENSOR_NETWORK",
    "SUBTENSOR_ADDRESS",
    "WALLET_NAME",
    "HOTKEY_NAME",
    "DB_PATH",
    "USERS_DB_PATH",
    "API_HOST",
    "API_PORT",
    "CHALLENGE_API_URL",
    "CHALLENGE_API_BASE_URL",
    "CHALLENGE_API_KEY",
    "CHALLENGE_PUSH_API_KEY",
    "HEATMAP_UPLOAD_URL",
    "LLM_API_URL",
    "LLM_API_KEY",
    "LLM_MODEL",
    "OPENAI_API_URL",
    "OPENAI_API_KEY",
    "OPENAI_MODEL",
    "LOG_LEVEL",
    "TEST_MODE",
    "CHALLENGE_MODE",
    "AXON_IP",
    "AXON_PORT",
    "AXON_EXTERNAL_IP",
    "AXON_EXTERNAL_PORT",
    "AXON_MAX_WORKERS",
    "AXON_TIMEOUT",
    "FIBER_KEY_TTL_SECONDS",
    "FIBER_HANDSHAKE_TIMEOUT_SECONDS",
    "MAX_CONCURRENT_CHALLENGES",
    "MAX_CONCURRENT_AVAILABILITY_CHECKS",
    "SENTENCE_TRANSFORMER_MODEL",
    "VALIDATOR_WORKDIR",
    "PYTHON_INTERPRETER",
    "WALLET_PATH",
    "VENV_NAME",
    "CONTAINER_NAME",
)


def said(**variables: str) -> list[str]:
    return older_warnings(*everything_given(None, variables))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_name_that_the_existing_validator_documents_is_known(name: str) -> None:
    settings = {field.upper() for field in Settings.model_fields}
    assert sum(name in names for names in (settings, RENAMED, GONE, OF_SCRIPTS)) == 1


@pytest.mark.parametrize(
    ("name", "text", "setting", "value"),
    [
        ("OPENAI_API_URL", "http://l/v1", "llm_api_url", "http://l/v1"),
        ("OPENAI_API_KEY", "k", "llm_api_key", "**********"),
        ("OPENAI_MODEL", "m", "llm_model", "m"),
        ("CHALLENGE_API_BASE_URL", "https://c.example/", "challenge_api_url", "https://c.example/"),
        ("SUBTENSOR_NETWORK", "test", "subtensor_address", "wss://test.finney.opentensor.ai:443"),
        ("SUBTENSOR_NETWORK", "Test", "subtensor_address", "wss://test.finney.opentensor.ai:443"),
        ("SUBTENSOR_NETWORK", "wss://own:443", "subtensor_address", "wss://own:443"),
        ("MAX_CONCURRENT_CHALLENGES", "15", "max_concurrent_runs", "15"),
        ("SENTENCE_TRANSFORMER_MODEL", "sentence-transformers/all-MiniLM-L6-v2", "embedding_model", "builtin"),
        ("SENTENCE_TRANSFORMER_MODEL", "/models/mpnet", "embedding_model", "/models/mpnet"),
    ],
)
def test_an_older_name_is_taken_as_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, setting: str, value: str
) -> None:
    also = {"LLM_MODEL": "m"} if name == "OPENAI_API_URL" else {}
    for each, said in also.items():
        monkeypatch.setenv(each, said)
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{name.lower()}={text}\n")
    assert str(getattr(Settings(_env_file=dotenv), setting)) == value
    monkeypatch.setenv(name, text)
    assert str(getattr(Settings(), setting)) == value


def test_the_settings_own_name_wins_wherever_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("LLM_MODEL=new\nSUBTENSOR_ADDRESS=ws://127.0.0.1:9944\n")
    monkeypatch.setenv("OPENAI_MODEL", "old")
    monkeypatch.setenv("SUBTENSOR_NETWORK", "a-network-of-which-nobody-heard")
    settings = Settings(_env_file=dotenv)
    assert (settings.llm_model, settings.subtensor_address) == ("new", "ws://127.0.0.1:9944")


@pytest.mark.parametrize(
    ("elsewhere", "why"),
    [
        ({"LLM_API_URL": "http://l/v1"}, "LLM_API_URL is set, which may be another's"),
        ({"LLM_PROVIDER": "ollama"}, "LLM_PROVIDER is ollama"),
    ],
)
def test_a_key_for_openai_goes_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, str], why: str
) -> None:
    given = {"OPENAI_API_KEY": "k", "LLM_MODEL": "m", **elsewhere}
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    assert Settings().llm_api_key is None
    assert said(**given) == [f"OPENAI_API_KEY is not used, as {why}; write LLM_API_KEY"]


def test_nor_to_an_address_that_stands_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    dotenv.write_text("LLM_MODEL=m\nOPENAI_API_URL=http://10.0.0.5:8000/v1\n")
    assert Settings(_env_file=dotenv).llm_api_key is None
    dotenv.write_text("LLM_MODEL=m\nOPENAI_API_URL=https://api.openai.com/v1\n")
    assert Settings(_env_file=dotenv).llm_api_key is not None
    dotenv.write_text("LLM_MODEL=m\nOPENAI_API_KEY=k\nOPENAI_API_URL=http://10.0.0.5:8000/v1\n")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert Settings(_env_file=dotenv).llm_api_key is not None


def test_another_process_does_not_take_an_older_name_for_what_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    for name, text in settings.environment().items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("OPENAI_API_KEY", "of another program, set meanwhile")
    assert Settings() == settings


def test_an_unknown_network_is_an_error_that_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBTENSOR_NETWORK", "fynney")
    with pytest.raises(ConfigError, match=r"SUBTENSOR_NETWORK='fynney' is no network .* set SUBTENSOR_ADDRESS"):
        get_settings()


@pytest.mark.parametrize("name", sorted(GONE))
def test_a_name_that_does_nothing_is_told_about(name: str) -> None:
    assert said(**{name: "7"})[0].startswith(f"{name} does nothing: ")


@pytest.mark.parametrize("name", [name for name, renamed in RENAMED.items() if renamed.told])
def test_a_name_that_means_something_else_is_told_about(name: str) -> None:
    assert said(**{name: "finney"})[0].startswith(f"{name} is taken as {RENAMED[name].setting.upper()}, which ")


@pytest.mark.parametrize("name", ["OPENAI_API_URL", "OPENAI_API_KEY", "OPENAI_MODEL"])
def test_a_name_that_means_the_same_is_not(name: str) -> None:
    assert said(**{name: "x"}) == []


def test_two_names_for_one_thing_are_told_about_unless_they_agree() -> None:
    assert said(OPENAI_MODEL="a", LLM_MODEL="b") == ["OPENAI_MODEL is not used, as LLM_MODEL is set; remove it"]
    assert said(OPENAI_MODEL="a", LLM_MODEL="a") == []


def test_a_setting_that_changed_its_meaning_is_told_about_where_an_env_file_was_brought_along() -> None:
    assert said(CHALLENGE_PUSH_API_KEY="k", LOG_LEVEL="INFO") == []
    brought = said(CHALLENGE_PUSH_API_KEY="k", LOG_LEVEL="INFO", CHALLENGE_MODE="push", AXON_PORT="1")
    assert [line.split(":")[0] for line in brought] == [
        "AXON_PORT does nothing",
        "CHALLENGE_PUSH_API_KEY",
        "LOG_LEVEL",
    ]
    assert CHANGED.keys() <= {field.upper() for field in Settings.model_fields}


def test_no_value_is_told() -> None:
    lines = said(**dict.fromkeys([*RENAMED, *GONE, *CHANGED], "hunter2"))
    assert lines
    assert "hunter2" not in " ".join(lines)


def test_a_setting_of_an_earlier_release_is_told_about_unless_it_says_what_is_so() -> None:
    (line,) = said(CELERY_RESULT_BACKEND="redis://h/1")
    assert line.startswith("CELERY_RESULT_BACKEND does nothing: ")
    assert said(CELERY_RESULT_BACKEND="disabled://") == []
