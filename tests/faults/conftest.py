from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import devnet_process
from loosh_pipeline.processes import processes_of
from tests.e2e.processes import of_nobody
from tests.faults.filesystems import BreakableDisk, CannotMount, breakable_disk, small_disk
from tests.faults.installation import Installation, installed
from tests.faults.lines import VERDICT, fault_of
from tests.faults.trial import Trial, Verdict

HERE = Path(__file__).parent
MINERS = 5
TABLES_MIB = 64

Judge = Callable[[Verdict], None]
Install = Callable[..., AbstractContextManager[Installation]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Faults take minutes: they run only for `-m faults`, whatever else is selected."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.faults)
    if "faults" not in config.option.markexpr and ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="package")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetInfo]:
    """One subnet for all validators, one of whose miners takes four seconds to answer."""
    home = tmp_path_factory.mktemp("devnet")
    with of_nobody(home), devnet_process(home, lambda _: None, miners=MINERS) as (info, _):
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


@dataclass(frozen=True)
class Disks:
    """Where the validator of most faults keeps its data; why it cannot be a disk of its own, where it cannot."""

    home: BreakableDisk | None
    why_not_breakable: str | None
    why_not_small: str | None

    def needs(self, why_not: str | None) -> None:
        if why_not is not None:
            pytest.skip(why_not)


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validator")


@pytest.fixture(scope="package")
def disks(home: Path) -> Iterator[Disks]:
    """The data directory on a disk that can break, its tables on one that can be filled, where that is possible."""
    with ExitStack() as mounts:
        disk, breakable, small = None, None, None
        try:
            disk = mounts.enter_context(breakable_disk(home.with_name("image"), home))
        except CannotMount as error:
            breakable = str(error)
        try:
            mounts.enter_context(small_disk(home.with_name("tables"), TABLES_MIB))
        except CannotMount as error:
            small = str(error)
        yield Disks(disk, breakable, small)


@pytest.fixture(scope="package")
def validator(install: Install, home: Path, disks: Disks) -> Iterator[Installation]:
    """The validator for faults after which it goes on."""
    with install(home, tables_dir=str(home.with_name("tables"))) as validator:
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
