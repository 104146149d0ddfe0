"""A machine of some services is refused where it could not work, by the setting that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loosh_pipeline.services import environment, planned
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.types import SERVICES

DAGSTER = ("code-server", "dagster-webserver", "dagster-daemon")
SHARED: dict[str, Any] = {
    "database_url": "postgresql+psycopg2://u:p@h/loosh",
    "dagster_database_url": "postgresql+psycopg2://u:p@h/dagster",
    "celery_broker_url": "redis://h/0",
    "tables_dir": "/srv/t",
    "heatmaps_dir": "/srv/h",
    "dagster_url": "http://10.0.0.2:3000",
    "embedder_url": "http://10.0.0.3:8801",
}
ROLES = [("ingress",), ("worker", "upkeep"), ("worker",), ("upkeep",), DAGSTER, ("embedder",), ("ingress", "worker")]


@pytest.mark.parametrize("services", ROLES)
def test_a_machine_that_is_told_everything_starts_its_services(own_home: Path, services: tuple[str, ...]) -> None:
    settings = Settings(loosh_services=services, **SHARED)
    assert {each.name for each in planned(settings)} == set(services)


@pytest.mark.parametrize(
    ("services", "missing"),
    [
        (("ingress",), ("database_url", "tables_dir", "heatmaps_dir", "dagster_url", "embedder_url")),
        (
            ("worker", "upkeep"),
            (
                *("database_url", "dagster_database_url", "celery_broker_url", "tables_dir", "heatmaps_dir"),
                "embedder_url",
            ),
        ),
        (DAGSTER, ("database_url", "dagster_database_url", "celery_broker_url", "tables_dir", "embedder_url")),
        (("embedder",), ()),
        (SERVICES, ()),
        (tuple(each for each in SERVICES if each != "alerts"), ()),
        (("ingress", "worker", "upkeep", *DAGSTER), ("embedder_url",)),
    ],
)
def test_what_a_machine_lacks_is_named(own_home: Path, services: tuple[str, ...], missing: tuple[str, ...]) -> None:
    if not missing:
        assert Settings(loosh_services=services).loosh_services == services
        return
    with pytest.raises(ValidationError) as refused:
        Settings(loosh_services=services)
    assert [name for name in SHARED if f"{name.upper()}:" in str(refused.value)] == [n for n in SHARED if n in missing]
    for name in missing:
        some = {key: value for key, value in SHARED.items() if key != name}
        with pytest.raises(ValidationError, match=f"{name.upper()}:"):
            Settings(loosh_services=services, **some)


def test_dagster_is_on_one_machine(own_home: Path) -> None:
    with pytest.raises(ValidationError, match="share one machine; name dagster-daemon too"):
        Settings(loosh_services=("code-server", "dagster-webserver"), **SHARED)


def test_an_embedder_is_not_started_beside_a_server_in_its_place(own_home: Path) -> None:
    with pytest.raises(ValidationError, match="take that out of LOOSH_SERVICES"):
        Settings(loosh_services=("embedder",), embedding_model="http://m/v1")


def test_processes_are_told_of_those_elsewhere(own_home: Path) -> None:
    worker = environment(Settings(loosh_services=("worker", "upkeep"), **SHARED), own_home)
    assert (worker["EMBEDDER_URL"], worker["DAGSTER_URL"]) == ("http://10.0.0.3:8801/", "http://10.0.0.2:3000/")
    alone = environment(Settings(loosh_services=("embedder",), embedder_host="10.0.0.3"), own_home)
    assert alone["EMBEDDER_URL"] == "http://10.0.0.3:8801"
    assert worker["CELERY_RESULT_BACKEND"] == "disabled://"


@pytest.mark.parametrize(
    ("changes", "spread"),
    [
        ({}, False),
        ({"database_url": SHARED["database_url"]}, True),
        ({"celery_broker_url": "redis://h/0"}, False),
        ({"database_url": SHARED["database_url"], "celery_broker_url": "redis://h/0"}, True),
        ({**SHARED, "loosh_services": ("ingress",), "celery_broker_url": "loosh-files://"}, True),
    ],
)
def test_workers_tell_what_they_execute_only_where_there_may_be_others(
    own_home: Path, changes: dict[str, Any], spread: bool
) -> None:
    assert Settings(**changes).spread is spread
