from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from loosh_pipeline.processes import processes_of
from loosh_pipeline.settings import Settings
from tests.e2e.validator import Validator, running_validator


@pytest.fixture(scope="package")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    """One validator for all tests of this package, in a directory without a `.env` of anybody."""
    if sys.platform != "linux":
        pytest.skip("finds and kills processes through /proc, which only Linux has")
    home = tmp_path_factory.mktemp("validator")
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.chdir(home)
        with running_validator(home) as validator:
            yield validator
    assert list(processes_of(home)) == [], "stopping a validator leaves no process behind"
