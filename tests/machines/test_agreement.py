"""What all machines of a validator must have alike is compared at the start, by the database that they share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.shared_places import MARK, agreements, check_shared, mark_in
from loosh_pipeline.workers.room import free_children
from tests.machines.conftest import executing, silence
from tests.postgres import new_database

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def shared(own_home: Path, database_url: str, postgres_server: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "database_url": database_url,
        "dagster_database_url": new_database(postgres_server, "dagster"),
        "celery_broker_url": "redis://127.0.0.1:1/0",
        "tables_dir": str(tmp_path / "t"),
        "heatmaps_dir": tmp_path / "h",
    }


def test_who_hands_out_files_is_refused_beside_others(shared: dict[str, Any], engine: Engine, hosts: Hosts) -> None:
    executing(hosts, "a")
    check_shared(Settings(**shared), engine, NOW)
    alone = Settings(**{**shared, "celery_broker_url": None})
    with pytest.raises(StoreError, match="CELERY_BROKER_URL leads elsewhere"):
        check_shared(alone, engine, NOW)
    silence(engine, "a", 60)
    check_shared(alone, engine, NOW)  # all were stopped, and it was changed
    check_shared(alone, engine, NOW)


def test_another_database_of_runs_is_refused(
    shared: dict[str, Any], engine: Engine, hosts: Hosts, postgres_server: str
) -> None:
    executing(hosts, "a")
    check_shared(Settings(**shared), engine, NOW)
    same = shared["dagster_database_url"].replace("postgresql+psycopg2", "postgresql") + "&application_name=other"
    check_shared(Settings(**{**shared, "dagster_database_url": same}), engine, NOW)
    for other in (None, new_database(postgres_server, "dagster-2")):
        with pytest.raises(StoreError, match="DAGSTER_DATABASE_URL leads elsewhere"):
            check_shared(Settings(**{**shared, "dagster_database_url": other}), engine, NOW)
    away = "postgresql://u:hunter2@127.0.0.1:1/x"
    with pytest.raises(StoreError, match=r"right \(DAGSTER_DATABASE_URL\)") as refused:
        check_shared(Settings(**{**shared, "dagster_database_url": away}), engine, NOW)
    assert "hunter2" not in str(refused.value)


def test_any_role_may_ask_which_database_it_is(shared: dict[str, Any]) -> None:
    owner = create_engine(shared["dagster_database_url"], isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS plain"))
        connection.execute(text("CREATE ROLE plain LOGIN"))
    owner.dispose()
    plain = shared["dagster_database_url"].replace("postgres@", "plain@")
    assert agreements(Settings(**{**shared, "dagster_database_url": plain})) == agreements(Settings(**shared))


def test_an_ingress_beside_one_machine_with_everything_sees_its_workers(
    shared: dict[str, Any], engine: Engine, hosts: Hosts, tmp_path: Path
) -> None:
    everything = Settings(database_url=shared["database_url"])
    check_shared(everything, engine, NOW)
    executing(hosts, "a", "r-1")
    urls = {"dagster_url": "http://10.0.0.2:3000", "embedder_url": "http://10.0.0.2:8801"}
    ingress = Settings(**{**shared, **urls}, loosh_services=("ingress",))
    assert free_children(everything, engine) == free_children(ingress, engine) == 4
    with pytest.raises(StoreError, match="TABLES_DIR"):
        check_shared(ingress, engine, NOW)
    places = {"tables_dir": everything.tables_root, "heatmaps_dir": everything.heatmaps_root}
    check_shared(ingress.model_copy(update=places), engine, NOW)


def test_a_bucket_is_marked_as_a_directory_is(shared: dict[str, Any], engine: Engine) -> None:
    settings = Settings(**{**shared, "tables_dir": "memory://bucket/one"})
    check_shared(settings, engine, NOW)
    check_shared(settings, engine, NOW)
    assert mark_in("memory://bucket/one")
    other = Settings(**{**shared, "tables_dir": "memory://bucket/two"})
    with pytest.raises(StoreError, match=r"bucket/two \(TABLES_DIR\) is not the directory"):
        check_shared(other, engine, NOW)
    assert mark_in("memory://bucket/two") is None, f"nobody leaves a {MARK} where others know another"
