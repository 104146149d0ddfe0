"""The processes of a validator, as they are told to start, and the Dagster instance they share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.secrets.env_file import get_env_var_dict
from dagster._core.workspace.load import location_origins_from_yaml_paths

from loosh_pipeline.orchestrator import BACKFILL_TAG, CODE_LOCATION, RESCORING_TAG, SINGLE_WRITER_TAG
from loosh_pipeline.services import environment, services, write_instance
from loosh_pipeline.settings import UNSET, Settings
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP, UPKEEP_CHILDREN


def test_every_process_is_there_in_an_order_that_can_start(settings: Settings) -> None:
    started: list[str] = []
    for service in services(settings):
        assert set(service.after) <= set(started)
        started.append(service.name)
    assert sorted(started) == [
        "code-server",
        "dagster-daemon",
        "dagster-webserver",
        "embedder",
        "ingress",
        "upkeep",
        "worker",
    ]


def test_alerts_are_looked_for_where_somebody_is_to_be_told() -> None:
    told = services(Settings(alert_webhook_url="https://hooks.example/x"))
    assert "alerts" in {service.name for service in told}
    assert all(service.env["LOOSH_PROCESS"] == service.name for service in told)


def test_each_listens_where_the_settings_say(settings: Settings) -> None:
    by_name = {service.name: service for service in services(settings)}
    ports = {name: service.port for name, service in by_name.items()}
    assert ports == {
        "ingress": settings.api_port,
        "code-server": settings.code_server_port,
        "embedder": settings.embedder_port,
        "dagster-webserver": settings.dagster_port,
        "dagster-daemon": None,
        "worker": None,
        "upkeep": None,
    }
    for name in ("code-server", "embedder", "dagster-webserver"):
        command = list(by_name[name].command)
        assert command[command.index("--port") + 1] == str(ports[name])
        assert command[command.index("--host") + 1] == "127.0.0.1", "only the ingress is for others"


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::", "::1")])
def test_the_ingress_is_looked_for_where_it_is_bound(bound: str, reached: str) -> None:
    (ingress,) = (each for each in services(Settings(api_host=bound)) if each.name == "ingress")
    assert ingress.host == reached
    assert ingress.env["API_HOST"] == bound


def test_every_process_has_the_same_settings(
    settings: Settings, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment(settings, own_home / "dagster_home")
    assert env["DAGSTER_HOME"] == str(own_home / "dagster_home")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = Settings()
    filled = {"dagster_url", "embedder_url", "public_url"}
    home_written_out = {"wallet_path": settings.wallet_path.expanduser()}
    assert found.model_dump(exclude=filled) == settings.model_dump(exclude=filled) | home_written_out
    assert [str(getattr(found, name)) for name in sorted(filled)] == [
        "http://127.0.0.1:3000/",
        "http://127.0.0.1:8801/",
        "http://127.0.0.1:8000/",
    ]


def test_relative_places_are_the_same_for_every_process(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    places = {"db_path": "v.db", "users_db_path": "u.db", "heatmaps_dir": "h", "tables_dir": "t", "wallet_path": "w"}
    settings = Settings(loosh_home="here", **places)
    for name, value in environment(settings, own_home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = Settings()
    assert found.home == tmp_path / "here"
    assert (found.inbox_url, found.users_url) == (f"sqlite:///{tmp_path}/v.db", f"sqlite:///{tmp_path}/u.db")
    assert (found.tables_root, found.heatmaps_root) == (str(tmp_path / "t"), tmp_path / "h")
    assert found.wallet_path == tmp_path / "w"


def test_an_object_store_stays_what_it_is(own_home: Path) -> None:
    assert environment(Settings(tables_dir="s3://bucket/t"), own_home)["TABLES_DIR"] == "s3://bucket/t"
    assert environment(Settings(), own_home)["TABLES_DIR"] == UNSET


def test_no_dotenv_of_the_operator_lies_where_dagster_looks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("EMBEDDER_URL=\nDATABASE_URL=postgresql://production/db\n")
    monkeypatch.chdir(tmp_path)
    for service in services(settings):
        assert service.cwd is not None
        assert service.cwd.is_dir()
        assert get_env_var_dict(str(service.cwd)) == {}
    assert get_env_var_dict(str(tmp_path)), "what Dagster would have let rule"


def test_urls_elsewhere_are_kept(own_home: Path) -> None:
    elsewhere = Settings(dagster_url="http://d:1/", embedder_url="http://e:2/", public_url="https://v/")
    env = environment(elsewhere, own_home)
    assert (env["DAGSTER_URL"], env["EMBEDDER_URL"], env["PUBLIC_URL"]) == ("http://d:1/", "http://e:2/", "https://v")


def test_dagster_accepts_the_instance_that_is_written(own_home: Path) -> None:
    settings = Settings(max_concurrent_runs=9, code_server_port=4999)
    home = own_home / "dagster_home"
    write_instance(home, settings)
    config, _ = dagster_instance_config(str(home))
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == -1, "what evaluates holds up no weights"
    assert config["telemetry"]["enabled"] is False
    (origin,) = location_origins_from_yaml_paths([str(home / "workspace.yaml")])
    assert (origin.location_name, origin.host, origin.port) == (CODE_LOCATION, "127.0.0.1", 4999)


@pytest.mark.parametrize(("challenges", "backfills"), [(1, 1), (2, 2), (9, 4)])
def test_backfills_leave_a_process_to_challenges(own_home: Path, challenges: int, backfills: int) -> None:
    write_instance(own_home, Settings(max_concurrent_runs=challenges))
    limits = yaml.safe_load((own_home / "dagster.yaml").read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {limit["key"]: limit["limit"] for limit in limits} == {
        SINGLE_WRITER_TAG: 1,
        BACKFILL_TAG: backfills,
        RESCORING_TAG: 1,
        QUEUE_TAG: UPKEEP_CHILDREN,
    }


def test_upkeep_has_workers_of_its_own(settings: Settings) -> None:
    ours = {service.name: service for service in services(settings)}
    worker, upkeep = ours["worker"], ours["upkeep"]
    assert upkeep.command == [*worker.command, "--queue", UPKEEP]
    assert worker.stops_its_own
    assert upkeep.stops_its_own


def test_the_settings_rule_over_what_was_written_before(own_home: Path, settings: Settings) -> None:
    home = own_home / "dagster_home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: true}")
    services(settings)
    assert yaml.safe_load((home / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}


def test_a_run_is_given_longer_than_its_miners(own_home: Path) -> None:
    write_instance(own_home, Settings(challenge_timeout_s=120))
    monitoring = yaml.safe_load((own_home / "dagster.yaml").read_text())["run_monitoring"]
    assert monitoring["max_runtime_seconds"] > 2 * 120
