"""What a machine of some services says of itself: what is not here is not wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from loosh_pipeline import clock_set_back, running
from loosh_pipeline.alerting.conditions import Source, standing_alerts
from loosh_pipeline.alerting.look import Watch
from loosh_pipeline.backup.places import Places
from loosh_pipeline.cli.running import _pages, _require_wallet
from loosh_pipeline.doctor import stores
from loosh_pipeline.doctor.diagnosing import around, checks
from loosh_pipeline.doctor.disks import places
from loosh_pipeline.doctor.ports import listened
from loosh_pipeline.errors import NotTheWriter, ServiceError
from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import Settings
from loosh_pipeline.status import status_facts, status_tables
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.weight_setting import lease_length
from loosh_pipeline.workers.config import EVALUATIONS, UPKEEP
from loosh_pipeline.workers.heart import host_name, incarnation_file
from tests.machines.conftest import executing, silence
from tests.postgres import new_database

DAGSTER = ("code-server", "dagster-webserver", "dagster-daemon")


@pytest.fixture
def shared(own_home: Path, database_url: str, postgres_server: str, tmp_path: Path) -> dict[str, object]:
    return {
        "database_url": database_url,
        "dagster_database_url": new_database(postgres_server, "dagster"),
        "celery_broker_url": "redis://127.0.0.1:1/0",
        "tables_dir": str(tmp_path / "t"),
        "heatmaps_dir": tmp_path / "h",
        "dagster_url": "http://127.0.0.1:1",
        "embedder_url": "http://127.0.0.1:1",
        "subtensor_address": "ws://127.0.0.1:1",
    }


@pytest.fixture
def embedder(own_home: Path) -> Settings:
    return Settings(loosh_services=("embedder",), embedder_host="127.0.0.2")


def named(settings: Settings) -> set[str]:
    return {check.subject for check in checks(around(settings))}


def test_the_embedders_machine_knows_nothing_of_challenges(embedder: Settings, own_home: Path) -> None:
    found = status_facts(embedder)
    assert [each["name"] for each in found["processes"]] == ["embedder"]
    assert (found["broker"], "challenges" in found) == (None, False)
    assert len(status_tables(embedder)) == 1
    assert not (own_home / "validator.db").exists(), "and makes no database"
    assert not {"database", "wallet", "chain", "intake", "broker"} & named(embedder)
    assert listened(embedder) == {"EMBEDDER_PORT": ("127.0.0.2", embedder.embedder_port)}
    assert set(places(embedder)) == {"LOOSH_HOME", "MODELS_DIR"}
    assert set(_pages(embedder)) == {"logs"}
    _require_wallet(embedder)


def test_a_machine_of_workers_says_which_machines_there_are(shared: dict[str, object], hosts: Hosts) -> None:
    settings = Settings(loosh_services=("worker", "upkeep"), **shared)
    executing(hosts, "a", "r-1")
    found = status_facts(settings)
    assert found["taking_challenges"] is None
    assert found["not_taking_because"] is None
    (host,) = found["hosts"]
    assert (host["host"], host["processes"], host["busy"], host["heard"]) == ("a", 5, 1, True)
    assert {each["name"]: each["state"] for each in found["processes"]} == {
        "worker": "stopped",
        "upkeep": "stopped",
        "embedder": "elsewhere",
    }
    assert len(status_tables(settings)) >= 3
    assert not {"intake", "proxy", "pages", "firewall"} & named(settings)
    assert {"broker", "chain", "wallet", "database"} <= named(settings)
    said = {(each.verdict, each.said) for each in stores.machines(settings)}
    assert ("ok", f"workers of {EVALUATIONS} on a") in said
    assert ("look", f"no machine with workers of {UPKEEP} is heard of") in said
    assert listened(settings) == {}


def test_dagsters_machine_on_loopback_is_looked_at(shared: dict[str, object], hosts: Hosts) -> None:
    settings = Settings(loosh_services=DAGSTER, **shared)
    said = [each.said for each in stores.machines(settings)]
    assert any("DAGSTER_HOST=127.0.0.1" in each for each in said)
    reached = Settings(loosh_services=DAGSTER, **{**shared, "dagster_host": "10.0.0.2"})
    assert not any("DAGSTER_HOST" in each.said for each in stores.machines(reached))
    databases = [each for each in stores.databases(settings)]
    assert [each.verdict for each in databases] == ["ok", "ok"]
    away = settings.model_copy(update={"dagster_database_url": "postgresql://u:hunter2@127.0.0.1:1/x"})
    wrong = [each for each in stores.databases(away) if each.verdict == "wrong"]
    assert ["DAGSTER_DATABASE_URL" in each.todo for each in wrong] == [True]
    assert "hunter2" not in wrong[0].said


@pytest.fixture
def watch(shared: dict[str, object], engine: Engine) -> Iterator[Watch]:
    with closing(Watch.of(Settings(loosh_services=(*DAGSTER, "alerts"), **shared))) as watch:
        yield watch


def test_alerts_ask_no_ingress_that_is_elsewhere(watch: Watch) -> None:
    seen = watch.look(datetime.now(UTC))
    assert Source.INGRESS not in seen.blind
    assert Source.STORES not in seen.blind
    assert Source.DAGSTER in seen.blind, "which is asked at DAGSTER_URL"


def test_alerts_tell_of_machines_that_went_without_a_word(watch: Watch, hosts: Hosts, engine: Engine) -> None:
    seen = watch.look(datetime.now(UTC))
    assert (list(seen.unworked), seen.silent) == ([EVALUATIONS, UPKEEP], {})
    executing(hosts, "a")
    executing(hosts, "b", queue=UPKEEP)
    silence(engine, "b", 600)
    seen = watch.look(datetime.now(UTC))
    assert (list(seen.unworked), list(seen.silent)) == ([UPKEEP], ["b"])
    told = {alert.key: alert.text for alert in standing_alerts(seen)}
    assert "last heard of 10 minutes ago" in told["silent:b"]
    assert "no machine with workers of the queue upkeep" in told["unworked:upkeep"]


@pytest.mark.parametrize(
    ("host", "verdict"), [("0.0.0.0", "look"), ("::", "look"), ("203.0.113.9", "ok"), ("9.9.9.9", "wrong")]
)
def test_what_asks_nobody_who_they_are_is_bound_to_no_public_address(own_home: Path, host: str, verdict: str) -> None:
    settings = Settings(loosh_services=("embedder",), embedder_host=host)
    said = [each.verdict for each in stores.machines(settings) if "EMBEDDER_HOST" in each.said]
    assert said == ([] if verdict == "ok" else [verdict])


def test_a_copied_data_directory_is_told(shared: dict[str, object], hosts: Hosts) -> None:
    settings = Settings(loosh_services=("worker", "upkeep"), **shared)
    executing(hosts, host_name(settings))
    file = incarnation_file(settings, EVALUATIONS)
    file.write_text(f"{host_name(settings)}-1")
    assert not any("was copied" in each.said for each in stores.machines(settings))
    file.write_text("another")
    assert [each.verdict for each in stores.machines(settings) if "was copied" in each.said] == ["wrong"]


def test_what_a_server_keeps_is_backed_up_there(shared: dict[str, object]) -> None:
    found = Places.of(Settings(**shared))
    assert (found.inbox, found.users) == (None, None)


def test_dagsters_records_on_a_server_are_brought_along_once(shared: dict[str, object], own_home: Path) -> None:
    said: list[str] = []
    settings = Settings(loosh_services=DAGSTER, **shared)
    write_instance(own_home / "dagster_home", settings)
    for _ in range(2):
        running._renew_history(settings, said.append)
    assert len(said) == 1
    away = {**shared, "dagster_database_url": "postgresql+psycopg2://u@127.0.0.1:1/x"}
    (own_home / "dagster_home" / running.WRITTEN_BY).unlink()
    with pytest.raises(ServiceError, match="see that DAGSTER_DATABASE_URL is right"):
        running._renew_history(Settings(loosh_services=DAGSTER, **away), said.append)


def test_a_clock_that_is_wrong_on_one_machine_changes_nothing_of_the_others(
    shared: dict[str, object], engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(loosh_services=("worker", "upkeep"), **shared)
    now = datetime.now(UTC)
    leases, hour = Leases(engine), timedelta(hours=1)
    for wrong in (-hour, hour):
        length = lease_length(settings)
        lease = leases.take("weights", "a", now + wrong, length)
        assert abs(lease.expires_at - now - length) < timedelta(minutes=1), "by the database's clock"
        assert clock_set_back.put_right(settings, None, now - hour) == 0
        assert "3600 s behind the database's" in caplog.text
        with pytest.raises(NotTheWriter):
            leases.take("weights", "b", now + 2 * hour, length)
        leases.release(lease, now + wrong)
    assert leases.take("weights", "b", now - hour, length).holder == "b"


def test_a_clock_that_was_set_back_to_the_time_of_all_is_put_right(shared: dict[str, object], engine: Engine) -> None:
    settings, now = Settings(loosh_services=("worker", "upkeep"), **shared), datetime.now(UTC)
    Leases(engine).take("weights", "a", now, timedelta(days=1))
    assert clock_set_back.put_right(settings, None, now) == 1
    assert clock_set_back.put_right(settings, None, now) == 0
