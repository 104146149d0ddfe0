"""What pip and uv install is the same set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {"pypi.org", "files.pythonhosted.org", None}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonical(name): version for name, version in pins}


def locked() -> dict[str, dict[str, object]]:
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    return {canonical(package["name"]): package for package in packages}


def test_the_lock_of_uv_holds_the_versions_of_the_constraints() -> None:
    lock = {name: package.get("version") for name, package in locked().items()}
    assert {
        name: (version, lock[name]) for name, version in pinned().items() if lock.get(name, version) != version
    } == {}


def test_it_knows_every_dependency_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {canonical(re.split(r"[<>=!~\[; ]", each)[0]) for each in declared}
    requires = locked()["loosh-pipeline"]["metadata"]["requires-dist"]  # type: ignore[index]
    assert {canonical(each["name"]) for each in requires} == names


def test_it_names_public_registries_only() -> None:
    text = (ROOT / "uv.lock").read_text("utf-8")
    assert {urlsplit(url).hostname for url in re.findall(r"\w+://[^\"]+", text)} <= PUBLIC
