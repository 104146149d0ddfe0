"""What `deploy/` says of several machines must be what a validator takes: every file is read as its machine would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from ingress.routers.availability import Availability
from loosh_pipeline.services import embeds_here, planned
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.types import SERVICES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OPTIONAL = {"alerts"}
"""Only where somebody is to be told."""


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8")))


def filled(value: str) -> str:
    """As compose fills in what `.env` does not set, with a password for the one that it must."""
    value = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "secret", value)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, filled(str(value)))
    return Settings(_env_file=None)


MACHINES = [name for name, each in compose()["services"].items() if "LOOSH_SERVICES" in each.get("environment", {})]


@pytest.mark.parametrize("name", MACHINES)
def test_every_container_starts_with_what_it_is_told(
    name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(compose()["services"][name]["environment"], monkeypatch)
    started = {each.name for each in planned(settings)}
    assert started == set(settings.loosh_services) - OPTIONAL
    assert embeds_here(settings) == (name == "embedder")


def test_all_containers_together_are_a_validator() -> None:
    told = [each["environment"]["LOOSH_SERVICES"] for name, each in compose()["services"].items() if name in MACHINES]
    named = [service for each in told for service in each.split(",")]
    assert set(named) == set(SERVICES)
    assert all(named.count(each) == 1 for each in ("code-server", "dagster-daemon", "dagster-webserver"))


def test_only_the_proxy_is_reached_from_outside() -> None:
    published = {name: each["ports"] for name, each in compose()["services"].items() if "ports" in each}
    assert set(published) == {"proxy", "dagster"}
    assert all(str(port).startswith("127.0.0.1:") for port in published["dagster"])


def test_the_proxy_knows_every_ingress() -> None:
    ingresses = [name for name in MACHINES if name.startswith("ingress")]
    assert len(ingresses) == 2
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    assert all(f"{name}:8000" in text for name in ingresses)


def test_the_proxy_asks_what_an_ingress_that_takes_nothing_answers_otherwise() -> None:
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    (wanted,) = re.findall(r'health_body "(.*)"', text)
    expected = re.compile(wanted.replace('\\"', '"'))
    said = {answer: Availability(available=answer).model_dump_json() for answer in (True, False)}
    assert [bool(expected.search(said[answer])) for answer in (True, False)] == [True, False]


def test_whatever_is_mounted_is_there() -> None:
    services = compose()["services"].values()
    files = [each.split(":")[0] for one in services for each in one.get("volumes", ()) if str(each).startswith("./")]
    assert files
    assert all((DEPLOY / each).exists() for each in files)


def test_the_shared_directory_belongs_to_the_user_of_the_image() -> None:
    dockerfile = (DEPLOY.parent / "docker" / "Dockerfile").read_text("utf-8")
    assert re.search(r"install --directory --owner=loosh .* /data /shared", dockerfile)


@pytest.mark.parametrize("role", ["dagster", "embedder", "ingress", "worker"])
def test_the_example_of_every_role_can_be_started(role: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {**dotenv_values(DEPLOY / "env" / "common.env"), **dotenv_values(DEPLOY / "env" / f"{role}.env")}
    settings = settings_of({name: str(value) for name, value in told.items()}, monkeypatch)
    assert {each.name for each in planned(settings)} == set(settings.loosh_services) - OPTIONAL


def test_the_embedders_machine_needs_nothing_of_the_others(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = dotenv_values(DEPLOY / "env" / "embedder.env")
    settings = settings_of({name: str(value) for name, value in told.items()}, monkeypatch)
    assert [each.name for each in planned(settings)] == ["embedder"]
