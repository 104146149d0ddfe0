"""A whole subnet in a thread, and `loosh doctor` of a validator on it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.devnet.chain import ChainConfig
from loosh_pipeline.devnet.subnet import DevnetConfig, DevnetInfo, serve_subnet
from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.settings import get_settings
from loosh_pipeline.supervisor import free_ports

Told = Mapping[str, list[dict[str, str]]]
"""Findings by subject."""
Doctor = Callable[..., tuple[int, Told]]
PORTS = ("API_PORT", "DAGSTER_PORT", "CODE_SERVER_PORT", "EMBEDDER_PORT")


@contextmanager
def in_thread(config: DevnetConfig) -> Iterator[DevnetInfo]:
    found: list[DevnetInfo] = []
    started, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with serve_subnet(config) as info:
            found.append(info)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(30), "the subnet did not start"
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="package")
def subnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetInfo]:
    """Its validator is registered, has a permit, and is on the Challenge API's list."""
    config = DevnetConfig(
        tmp_path_factory.mktemp("wallets"), chain=ChainConfig(block_time_s=0.25), miners=1, hotkey_name="validator"
    )
    with in_thread(config) as info:
        yield info


@pytest.fixture
def environment(subnet: DevnetInfo) -> dict[str, str]:
    """The settings of a validator on the subnet, on free ports."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    return {**subnet.environment(), **ports, "MIN_MINERS": "1"}


@pytest.fixture
def doctor(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """`doctor(NAME=value)`: the exit code, and what is told, of a validator on the subnet with these changes."""

    def run(**changes: str) -> tuple[int, Told]:
        for name, value in {**environment, **changes}.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        result = CliRunner().invoke(app, ["doctor", "--json"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, by_subject(result.stdout)

    return run


def by_subject(printed: str) -> Told:
    told: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(printed):
        assert set(each) == {"subject", "verdict", "said", "todo"}
        assert each["verdict"] != "wrong" or each["todo"], f"what is wrong comes with what to do: {each}"
        told.setdefault(each["subject"], []).append(each)
    return told


def wrong(told: Told) -> list[str]:
    """Subjects in which something is wrong."""
    return [subject for subject, found in told.items() if any(each["verdict"] == "wrong" for each in found)]


def only(found: Iterable[Finding]) -> Finding:
    """The one finding that there is."""
    (one,) = found
    return one
