"""The processes of a validator, as they are told to start, and the Dagster instance they share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.load import location_origins_from_yaml_paths

from loosh_pipeline.orchestrator import CODE_LOCATION
from loosh_pipeline.services import environment, services, write_instance
from loosh_pipeline.settings import Settings


def test_every_process_is_there_in_an_order_that_can_start(settings: Settings) -> None:
    started: list[str] = []
    for service in services(settings):
        assert set(service.after) <= set(started)
        started.append(service.name)
    assert sorted(started) == ["code-server", "dagster-daemon", "dagster-webserver", "embedder", "ingress"]


def test_each_listens_where_the_settings_say(settings: Settings) -> None:
    by_name = {service.name: service for service in services(settings)}
    ports = {name: service.port for name, service in by_name.items()}
    assert ports == {
        "ingress": settings.api_port,
        "code-server": settings.code_server_port,
        "embedder": settings.embedder_port,
        "dagster-webserver": settings.dagster_port,
        "dagster-daemon": None,
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
    assert found.model_dump(exclude=filled) == settings.model_dump(exclude=filled)
    assert [str(getattr(found, name)) for name in sorted(filled)] == [
        "http://127.0.0.1:3000/",
        "http://127.0.0.1:8801/",
        "http://127.0.0.1:8000/",
    ]


def test_a_relative_home_is_the_same_place_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment(Settings(loosh_home="here"), tmp_path)["LOOSH_HOME"] == str(tmp_path / "here")


def test_urls_elsewhere_are_kept(own_home: Path) -> None:
    elsewhere = Settings(dagster_url="http://d:1/", embedder_url="http://e:2/", public_url="https://v/")
    env = environment(elsewhere, own_home)
    assert (env["DAGSTER_URL"], env["EMBEDDER_URL"], env["PUBLIC_URL"]) == ("http://d:1/", "http://e:2/", "https://v")


def test_dagster_accepts_the_instance_that_is_written(own_home: Path) -> None:
    settings = Settings(max_concurrent_runs=9, code_server_port=4999)
    home = own_home / "dagster_home"
    write_instance(home, settings)
    config, _ = dagster_instance_config(str(home))
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == 9
    assert config["telemetry"]["enabled"] is False
    (origin,) = location_origins_from_yaml_paths([str(home / "workspace.yaml")])
    assert (origin.location_name, origin.host, origin.port) == (CODE_LOCATION, "127.0.0.1", 4999)


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
