from __future__ import annotations

from collections.abc import Iterator

import pytest

from loosh_pipeline.processes import processes_of
from tests.e2e.processes import of_nobody
from tests.e2e.validator import Validator, running_validator


@pytest.fixture(scope="package")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    """One validator for all tests of this package, in a directory without a `.env` of anybody."""
    home = tmp_path_factory.mktemp("validator")
    with of_nobody(home), running_validator(home) as validator:
        yield validator
    assert list(processes_of(home)) == [], "stopping a validator leaves no process behind"
