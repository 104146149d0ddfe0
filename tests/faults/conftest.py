from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import devnet_process
from loosh_pipeline.settings import Settings
from tests.e2e.processes import processes_of
from tests.faults.installation import Installation, installed
from tests.faults.lines import VERDICT, fault_of
from tests.faults.trial import Trial, Verdict

MINERS = 5

Judge = Callable[[Verdict], None]
Install = Callable[..., AbstractContextManager[Installation]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults/" in item.nodeid:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="package")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetInfo]:
    """One subnet for all validators, one of whose miners takes four seconds to answer."""
    if sys.platform != "linux":
        pytest.skip("finds and kills processes through /proc, which only Linux has")
    home = tmp_path_factory.mktemp("devnet")
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.chdir(home)
        with devnet_process(home, lambda _: None, miners=MINERS) as (info, _):
            yield info


@pytest.fixture(scope="package")
def install(devnet: DevnetInfo) -> Install:
    """Starts a validator on the subnet; after it nothing of it may run."""

    @contextmanager
    def install(home: Path, **how: object) -> Iterator[Installation]:
        try:
            with installed(devnet, home, **how) as validator:  # type: ignore[arg-type]
                yield validator
        finally:
            left = list(processes_of(home))
        assert left == [], "stopping a validator leaves no process behind"

    return install


@pytest.fixture(scope="package")
def validator(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The validator for faults after which it goes on."""
    with install(tmp_path_factory.mktemp("validator")) as validator:
        yield validator


@pytest.fixture
def trial_of(request: pytest.FixtureRequest) -> Callable[[Installation], Trial]:
    return lambda validator: Trial(fault_of(request.node.nodeid), validator)


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """Keeps a verdict for whoever prints it, and fails the test when it is a bad one."""

    def judge(verdict: Verdict) -> None:
        request.node.user_properties.append((VERDICT, verdict.line()))
        assert verdict.ok, verdict.line()

    return judge
