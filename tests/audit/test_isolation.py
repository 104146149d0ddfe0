"""A stranger's machine: numpy, scipy, scikit-learn, bittensor_core, the standard library, and not one package more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from loosh_pipeline.audit.content import Content
from tests.audit.epochs import bundled
from tests.audit.test_tampering import FIRST, of_response

ROOT = Path(__file__).resolve().parents[2]
ASKED_FOR = ("numpy", "scipy", "scikit-learn", "bittensor_core")
ABSENT = (
    *("polars", "pyarrow", "dagster", "torch", "bittensor", "cryptography", "sqlalchemy", "pydantic", "duckdb"),
    *("typer", "rich", "fastapi", "httpx", "pydantic_settings", "sentence_transformers"),
)
# -I: no environment and no working directory; -S: no site-packages, and none of their .pth files.
ALONE = (sys.executable, "-I", "-S", "-c")


def with_what_they_need(*names: str) -> dict[str, Path]:
    """What an installer puts there for these distributions: top-level names, and where they lie."""
    wanted, found, seen = list(names), dict[str, Path](), set[str]()
    while wanted:
        distribution = metadata.distribution(wanted.pop())
        if (name := distribution.metadata["Name"]) in seen:
            continue
        seen.add(name)
        requirements = map(Requirement, distribution.requires or ())
        wanted += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
        for file in distribution.files or ():
            if not file.parts[0].endswith((".dist-info", "__pycache__")) and file.parts[0] != "..":
                found[file.parts[0]] = Path(str(distribution.locate_file(file.parts[0])))
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of links to these packages and to ours."""
    directory = tmp_path_factory.mktemp("packages")
    (directory / "loosh_pipeline").symlink_to(ROOT / "loosh_pipeline")
    for name, place in with_what_they_need(*ASKED_FOR).items():
        (directory / name).symlink_to(place)
    return directory


def alone(bare: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(bare)!r}); {code}"
    return subprocess.run([*ALONE, program, *arguments], capture_output=True, text=True, timeout=300, check=False)


def test_what_is_not_there_cannot_be_imported(bare: Path) -> None:
    there = ("numpy", "scipy", "sklearn", "bittensor_core")
    code = f"import importlib.util as u; print([n for n in {(*ABSENT, *there)!r} if u.find_spec(n) is not None])"
    found = alone(bare, code)
    assert (found.stdout.strip(), found.stderr) == (repr([*there]), "")


RUN = (
    "import runpy; sys.argv = ['verify', *sys.argv[1:]]; "
    "runpy.run_module('loosh_pipeline.audit.verify', None, '__main__')"
)


@pytest.mark.parametrize(("altered", "verdict", "code"), [(False, "match", 0), (True, "mismatch", 1)])
def test_a_bundle_is_verified_where_nothing_else_is(
    bare: Path, epoch: Content, path: Path, altered: bool, verdict: str, code: int
) -> None:
    bundled(path, of_response(epoch, text="I was always good.") if altered else epoch)
    found = alone(bare, RUN, str(path), "--json")
    assert (found.returncode, found.stderr) == (code, "")
    report = json.loads(found.stdout)
    assert report["verdict"] == verdict
    assert {each["said"].partition(":")[0] for each in report["problems"] if altered} <= {FIRST}


def test_who_stops_reading_changes_no_verdict(bare: Path, epoch: Content, path: Path) -> None:
    bundled(path, epoch)
    program = f"import sys; sys.path.insert(0, {str(bare)!r}); {RUN}"
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run(
        [*ALONE, program, str(path)], stdout=writing, stderr=subprocess.PIPE, timeout=300, check=False
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")
