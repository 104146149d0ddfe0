"""A misspelt setting is an error that names it; what other programs read is none of our business."""

from __future__ import annotations

from pathlib import Path

import pytest

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.settings.given import everything_given
from loosh_pipeline.settings.read import warnings
from loosh_pipeline.settings.unknown import refuse_unknown

NAMES = [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("NET_UID", "did you mean NETUID?"),
        ("WALLETNAME", "did you mean WALLET_NAME?"),
        ("weights_intervall_blocks", "did you mean WEIGHTS_INTERVAL_BLOCKS?"),
        ("SOMETHING_ELSE", "`loosh config show` lists all settings"),
    ],
)
def test_a_dotenv_holds_no_name_that_nobody_reads(tmp_path: Path, name: str, hint: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"NETUID=7\n{name}=hunter2\n")
    with pytest.raises(ConfigError) as raised:
        refuse_unknown(NAMES, *everything_given(dotenv, {}))
    assert str(raised.value) == f"{name} ({dotenv}) is no setting; {hint}"


def test_all_of_them_are_named_at_once(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("NET_UID=7\nAPIPORT=1\n")
    with pytest.raises(ConfigError, match=r"NET_UID .* is no setting.*; APIPORT .* is no setting"):
        refuse_unknown(NAMES, *everything_given(dotenv, {}))


@pytest.mark.parametrize("name", ["INTAKE_HOTKEY", "WEIGHTS_CAP", "LOOSH_HOMES", "EMBEDDER_THREAD"])
def test_nor_does_the_environment_where_it_is_meant_for_us(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=rf"{name} \(environment\) is no setting"):
        get_settings()


OF_OTHERS = (
    "PATH",
    "HOME",
    "LLM_OF_ANOTHER_PROGRAM",
    "KUBERNETES_PORT",
    "CHALLENGE_API_SERVICE_HOST",
    "MODEL",
    "PWD",
    "NODE_APP_INSTANCE",
    "PM2_HOME",
    "pm_id",
    "name",
    "LOOSH_SERVICE_HOST",
    "LOOSH_SERVICE_PORT_HTTP",
    "LOOSH_PORT",
    "LOOSH_PORT_8000_TCP",
    "LOOSH_PORT_8000_TCP_ADDR",
    "EMBEDDER_SERVICE_HOST",
    "INTAKE_PORT_80_TCP",
    "SUBTENSOR_PORT",
    "BT_SUBTENSOR_NETWORK",
    "BT_AXON_EXTERNAL_IP",
    "BT_AXON_MAX_WORKERS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "OPENAI_BASE_URL",
    "DAGSTER_HOME",
)


@pytest.mark.parametrize("name", OF_OTHERS)
def test_what_the_environment_has_for_others_passes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert get_settings() == Settings()
    assert warnings() == []


@pytest.mark.parametrize("name", ["CHALLENGE_API_KEYS", "MAX_MINER", "MODEL_DIR", "API_PROT", "LLM_MODLE", "NETUIDD"])
def test_what_looks_misspelt_in_the_environment_is_told_and_may_be_anothers(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert get_settings() == Settings()
    (told,) = warnings()
    assert told.startswith(f"{name} (environment) is no setting; did you mean ")


@pytest.mark.parametrize(
    "line",
    [
        "AWS_SECRET_ACCESS_KEY=x",
        "HTTPS_PROXY=http://p",
        "TZ=UTC",
        "COMPOSE_PROJECT_NAME=v",
        "PYTHON_INTERPRETER=p",
        "DAGSTER_HOME=/d",
        "NODE_ENV=production",
        "WANDB_API_KEY=x",
    ],
)
def test_a_dotenv_may_be_shared_with_other_programs(tmp_path: Path, line: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(line + "\n")
    refuse_unknown(NAMES, *everything_given(dotenv, {}))


@pytest.mark.parametrize("name", ["DAGSTER_PROT", "CELERY_BROKER_UL", "PATHS", "TZZ"])
def test_but_not_with_what_only_looks_like_theirs(tmp_path: Path, name: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{name}=1\n")
    with pytest.raises(ConfigError, match=f"{name} .* is no setting"):
        refuse_unknown(NAMES, *everything_given(dotenv, {}))


def test_a_name_without_a_value_is_unset_and_looked_at_by_nobody(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("SOMETHING_ELSE=\n")
    refuse_unknown(NAMES, *everything_given(dotenv, {"INTAKE_HOTKEY": ""}))


def test_settings_that_come_from_our_own_supervisor_are_all_known() -> None:
    refuse_unknown(NAMES, *everything_given(None, Settings().environment() | {"LOOSH_SUPERVISED": "1"}))
