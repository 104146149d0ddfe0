"""Everything that the Dagster UI lists says what it is: a newcomer opens it and reads."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.about import DECIDES, REACHES, fresh_in_time, with_code
from assets.challenges import challenges
from loosh_pipeline import store
from loosh_pipeline.definitions import defs
from loosh_pipeline.described_tables import COMMON, TABLES
from loosh_pipeline.settings import Settings, get_settings

SPECS = {spec.key.to_user_string(): spec for spec in sorted(defs.resolve_all_asset_specs(), key=lambda each: each.key)}
GRAPH = defs.resolve_asset_graph()
CHECKS = sorted(GRAPH.asset_check_keys, key=lambda key: key.to_user_string())
WITHOUT_TABLE = {
    *("challenges", "submissions", "heatmaps", "penalties"),
    *("rescored_days", "compacted_tables", "pruned_history"),
}
"""What they make lies in the database, among the pictures, or in the tables of another asset."""
WEIGHTS = dg.AssetKey("weights")
ANCESTORS = {key.to_user_string() for key in GRAPH.get_ancestor_asset_keys(WEIGHTS, include_self=True)}
DECIDE_PAY = ANCESTORS | {"rescored_scores", "rescored_days", "weight_receipts"}
"""Weights and what they are made of; what may write the rows that count; what says whether they must be set again."""
DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)
STORE_CODE = "".join(path.read_text("utf-8") for path in Path(str(store.__file__)).parent.glob("*.py"))
"""Names every table, those that no asset is called after as well."""
TICKING = [*(defs.sensors or ()), *(defs.schedules or ())]
JOBS = sorted((job for job in defs.resolve_all_job_defs() if job.name != "__ASSET_JOB"), key=lambda job: job.name)


@pytest.mark.parametrize("name", SPECS)
def test_every_asset_says_to_a_newcomer_what_it_is(name: str) -> None:
    spec = SPECS[name]
    assert spec.description
    assert len(spec.description) >= 150, "what it is, what a row is, where it goes"
    assert spec.group_name != "default"
    assert spec.owners
    assert spec.kinds
    assert spec.tags[DECIDES] in ("pay", "nothing")
    assert (spec.tags[DECIDES] == "pay") == (name in DECIDE_PAY)
    assert spec.tags.get(REACHES) in (None, "chain", "miners", "challenge-api")


@pytest.mark.parametrize("name", SPECS)
def test_every_asset_leads_to_its_code(name: str) -> None:
    (here,) = code_of(SPECS[name])
    assert isinstance(here, dg.LocalFileCodeReference)
    lines = Path(here.file_path).read_text().splitlines()
    assert lines[(here.line_number or 0) - 1].startswith((f"def {name}(", f"{name} = dg.AssetSpec("))


def test_with_an_address_of_the_code_it_leads_there_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_URL", "https://example.org/us/it/blob/v1/")
    get_settings.cache_clear()
    (found,) = with_code([challenges])
    assert isinstance(found, dg.AssetSpec)
    here, there = code_of(found)
    assert isinstance(here, dg.LocalFileCodeReference)
    assert isinstance(there, dg.UrlCodeReference)
    assert there.url == f"https://example.org/us/it/blob/v1/assets/challenges.py#L{here.line_number}"


def test_code_that_is_not_there_as_files_keeps_nothing_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("assets.about.ROOT", tmp_path)
    (found,) = with_code([dg.AssetSpec("challenges")])
    assert isinstance(found, dg.AssetSpec)
    assert "dagster/code_references" not in found.metadata


@pytest.mark.parametrize("name", sorted(SPECS.keys() - WITHOUT_TABLE))
def test_every_asset_that_writes_a_table_says_what_its_columns_mean(name: str) -> None:
    schema = SPECS[name].metadata["dagster/column_schema"]
    table = TABLES[str(SPECS[name].metadata["dagster/table_name"])]
    assert isinstance(schema, dg.TableSchema)
    assert [column.name for column in schema.columns] == list(table.schema)
    for column in schema.columns:
        assert column.type
        assert len(column.description or "") >= 15, column.name
        assert (column.description or "").endswith((".", "…")), column.name


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_said_of_columns_that_are_not_there(name: str) -> None:
    assert TABLES[name].row
    assert TABLES[name].own.keys() <= TABLES[name].schema.keys()


def test_what_is_said_once_for_all_is_said_of_what_is_there() -> None:
    said = {name for table in TABLES.values() for name in table.schema.keys() - table.own.keys()}
    assert said == COMMON.keys()


@pytest.mark.parametrize("key", CHECKS, ids=lambda key: key.to_user_string())
def test_every_check_says_what_it_looks_at(key: dg.AssetCheckKey) -> None:
    assert len(GRAPH.get_check_spec(key).description or "") >= 40


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_says_what_it_does(job: dg.JobDefinition) -> None:
    assert len(job.description or "") >= 60


@pytest.mark.parametrize("each", TICKING, ids=lambda each: each.name)
def test_every_sensor_and_schedule_says_what_it_does_and_what_stopping_it_means(
    each: dg.SensorDefinition | dg.ScheduleDefinition,
) -> None:
    assert "Stopped" in (each.description or "")
    assert each.default_status.value == "RUNNING"
    said = re.match(r"Every (\d+) s:", each.description or "")
    if isinstance(each, dg.SensorDefinition):
        assert said is not None
        assert int(said[1]) == each.minimum_interval_seconds


@pytest.mark.parametrize("name", SPECS)
def test_what_a_description_names_is_there(name: str) -> None:
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", SPECS[name].description or ""))
    others = named - SPECS.keys() - TABLES.keys() - {each.name for each in TICKING}
    assert {other for other in others if f'"{other}"' not in STORE_CODE} == set()


def test_emissions_are_late_after_three_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name, spec in SPECS.items() if spec.freshness_policy} == {"emissions"}
    day = fresh_in_time(Settings(weights_interval_blocks=7200))
    assert day == dg.FreshnessPolicy.time_window(fail_window=DAY * 3, warn_window=DAY * 2)
    fast = fresh_in_time(Settings(weights_interval_blocks=1))
    assert fast == dg.FreshnessPolicy.time_window(fail_window=MINUTE * 20, warn_window=MINUTE * 20 - SECOND * 12)


def code_of(spec: dg.AssetSpec) -> list[object]:
    found = spec.metadata["dagster/code_references"]
    assert isinstance(found, dg.CodeReferencesMetadataValue)
    return list(found.code_references)
