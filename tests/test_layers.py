"""Dependencies point one way: read from the imports of every module, without running any."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).resolve().parent.parent
OUTER = ("ingress", "assets", "sensors", "resources")
OURS = ("loosh_pipeline", *OUTER)
WIRING = "loosh_pipeline.definitions"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules(*packages: str) -> Mapping[str, Path]:
    """Read once: there are a thousand tests, each of one module."""
    found = {module_name(path): path for package in packages for path in sorted((ROOT / package).rglob("*.py"))}
    return MappingProxyType(found)


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Full names of what a file imports, anywhere in it; `from a import b` is `a.b`."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield from (".".join([*base, *([node.module] if node.module else []), a.name]) for a in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_every_package_is_read() -> None:
    assert {name.split(".")[0] for name in modules(*OURS)} == set(OURS)
    assert WIRING in modules("loosh_pipeline")


@pytest.mark.parametrize("name", sorted(modules("loosh_pipeline").keys() - {WIRING}))
def test_the_library_looks_at_no_asset_sensor_resource_or_page(name: str) -> None:
    assert [i for i in imported(modules("loosh_pipeline")[name]) if within(i, *OUTER)] == []


@pytest.mark.parametrize("name", sorted(modules(*OURS)))
def test_nothing_imports_tests_or_benchmarks(name: str) -> None:
    assert [i for i in imported(modules(*OURS)[name]) if within(i, "tests", "benchmarks")] == []


MAKES_HOMES = {"benchmarks.pages_home": "tests.world"}
"""What measures nothing, and makes the home of what does: rounds are evaluated in it by the assets themselves."""


@pytest.mark.parametrize("name", sorted(modules("benchmarks")))
def test_benchmarks_measure_the_library_alone(name: str) -> None:
    others = [i for i in imported(modules("benchmarks")[name]) if within(i, "tests", *OUTER)]
    assert [i for i in others if not within(i, MAKES_HOMES.get(name, "nothing"))] == []


def test_only_their_own_tests_look_at_benchmarks() -> None:
    looking = {name for name, path in modules("tests").items() if any(within(i, "benchmarks") for i in imported(path))}
    assert "tests.test_scoring_adapter" in looking
    assert {name for name in looking if not _of_benchmarks(name)} == set()


def _of_benchmarks(test: str) -> bool:
    return test.endswith("_adapter") or within(test, "tests.benchmarks")


LIGHT = ("loosh_pipeline.settings", "loosh_pipeline.cli", "loosh_pipeline.supervisor", "loosh_pipeline.orchestrator")


@pytest.mark.parametrize("name", LIGHT)
def test_light_processes_stay_light(name: str) -> None:
    """Every process reads the settings, which check the names of profiles; none of them pays for scoring by that."""
    code = f"import sys, {name}; print([m for m in ('sklearn', 'scipy', 'torch', 'altair') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout == "[]\n"


def test_the_networks_method_is_part_of_the_plain_library() -> None:
    assert {"loosh_pipeline.scoring.network.evaluate", "loosh_pipeline.scoring.network.sybil"} <= modules(
        "loosh_pipeline/scoring"
    ).keys()


@pytest.mark.parametrize("name", sorted(modules("loosh_pipeline/scoring")))
def test_scoring_is_a_plain_library(name: str) -> None:
    allowed = ("loosh_pipeline.domain", "loosh_pipeline.scoring", "numpy", "scipy", "sklearn")
    foreign = [
        i
        for i in imported(modules("loosh_pipeline/scoring")[name])
        if not within(i, *allowed) and i.split(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []


@pytest.mark.parametrize("name", sorted(modules("loosh_pipeline/policy")))
def test_policy_is_pure(name: str) -> None:
    """No IO, no clock, no Dagster: what it works on is given, so an auditor can repeat a proposal."""
    allowed = ("loosh_pipeline.domain", "loosh_pipeline.errors", "loosh_pipeline.policy", "loosh_pipeline.scoring")
    standard = ("__future__", "collections", "dataclasses", "datetime", "enum", "functools", "ipaddress", "math")
    path = modules("loosh_pipeline/policy")[name]
    assert [i for i in imported(path) if not within(i, *allowed, "numpy", *standard)] == []
    assert not {"now", "utcnow", "today"} & {
        n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)
    }


@pytest.mark.parametrize("name", ["loosh_pipeline.domain", "loosh_pipeline.errors"])
def test_the_shared_words_import_only_the_standard_library(name: str) -> None:
    roots = {i.split(".")[0] for i in imported(modules("loosh_pipeline")[name])}
    assert roots <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import assets.scores", ["assets.scores"]),
        ("from assets import scores", ["assets.scores"]),
        ("def f():\n    from resources.store import Store", ["resources.store.Store"]),
        ("from . import text", ["loosh_pipeline.scoring.text"]),
        ("from ..errors import LooshError", ["loosh_pipeline.errors.LooshError"]),
    ],
)
def test_imports_are_found_in_every_form(source: str, found: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "loosh_pipeline" / "scoring" / "robust.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert list(imported(path)) == found
