"""Dashboard and alerting rules: whole, and about metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ingress.main import create_app
from ingress.measured_chain import FACTS
from ingress.measured_machine import Services
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.server import create_app as create_embedder
from loosh_pipeline.settings import Settings

DOCKER = Path(__file__).parents[1] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "loosh.json").read_text())
RULES = yaml.safe_load((DOCKER / "alerts.yml").read_text())
NAME = re.compile(r"loosh_[a-z0-9_]+")
SOMETIMES = {
    *(metric for metric, _ in FACTS.values()),
    *("loosh_weights_due_blocks", "loosh_embedder_up", "loosh_service_up", "loosh_service_memory_bytes"),
    *(
        "loosh_service_cpu_seconds_total",
        "loosh_service_deaths_total",
        "loosh_deliveries",
        "loosh_delivery_oldest_seconds",
    ),
}
"""Told once there is something to tell; tests/ingress/test_metrics.py and the end-to-end test see them."""


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["expr"] for each in DASHBOARD["annotations"]["list"] if "expr" in each)
    for group in RULES["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.fixture
def told(settings: Settings) -> set[str]:
    """Names of all samples that a validator which just started tells."""
    here = ("127.0.0.1", 5000)
    with TestClient(create_app(settings), client=here) as ingress:
        text = ingress.get("/metrics").text
    with TestClient(create_embedder(HashingEmbedder)) as embedder:
        text += embedder.get("/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {sample.name for sample in samples}


def test_every_expression_is_about_metrics_that_there_are(told: set[str]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 30
    assert asked - told <= SOMETIMES


def test_every_kind_of_metric_is_shown(told: set[str]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == [
        "Now",
        "Intake",
        "Backlog and latency",
        "Miners",
        "Embedding",
        "Weights and chain",
        "Deliveries",
        "Machine",
    ]
    for histogram in ("dispatch", "challenge_collected", "challenge_scored", "challenge_delivered", "miner_answer"):
        assert f"loosh_{histogram}_seconds_bucket" in asked


def test_panels_have_names_places_and_the_chosen_source() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert all(x < 24 for x, _ in cells), panel["title"]
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    assert DASHBOARD["uid"] == "loosh-validator"


def test_prometheus_reads_the_rules_of_this_directory() -> None:
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    assert [(DOCKER / name).exists() for name in config["rule_files"]] == [True]
    assert {job["job_name"] for job in config["scrape_configs"]} == {"loosh"}


def test_nothing_is_told_of_services_where_no_supervisor_runs(tmp_path: Path) -> None:
    assert list(Services(tmp_path).measured()) == []
