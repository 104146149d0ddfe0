"""Program and machine: packages, cores, memory, GPU, disks and ports."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.doctor import disks, machine, ports
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import free_ports
from tests.doctor.conftest import only


def test_this_python_and_its_packages_are_within_bounds() -> None:
    assert only(machine.python()).verdict == "ok"
    assert only(machine.dependencies()).verdict == "ok"


def test_a_package_beyond_its_bounds_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["typer>=999", "no-such-package-here", 'absent; extra == "dev"', "pydantic>=2"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: wanted)
    found = only(machine.dependencies())
    assert found.verdict == "wrong"
    assert "no-such-package-here is missing" in found.said
    assert ">=999 is needed" in found.said
    assert "absent" not in found.said


def test_what_is_not_the_pinned_set_is_said(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("typer==0.0.1  # old\n\nabsent==1\n")
    found = only(machine.dependencies(tmp_path / "constraints.txt"))
    assert (found.verdict, "not the pinned versions" in found.said, "typer " in found.said) == ("ok", True, True)


@pytest.mark.parametrize(("count", "verdict"), [(1, "look"), (2, "ok"), (64, "ok")])
def test_cores(count: int, verdict: str) -> None:
    assert only(machine.cores(count)).verdict == verdict


@pytest.mark.parametrize(("gb", "verdict"), [(4.0, "look"), (7.7, "ok"), (64.0, "ok")])
def test_memory(gb: float, verdict: str) -> None:
    assert only(machine.memory(gb)).verdict == verdict


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("2000000000\n")
    (tmp_path / "none").write_text("max\n")
    assert machine.memory_gb(tmp_path / "limit") == 2.0
    assert machine.memory_gb(tmp_path / "none") == machine.memory_gb(tmp_path / "absent") > 0


@pytest.mark.parametrize(
    ("cards", "backend", "verdict", "text"),
    [
        ([], "auto", "ok", "none is needed"),
        ([machine.Card("T4", 15.8, 7.5)], "auto", "ok", "T4, 16 GB"),
        ([machine.Card("K80", 12.0, 3.7)], "auto", "look", "7.5 at least"),
        ([machine.Card("K80", 12.0, 3.7)], "onnx", "ok", "not used"),
    ],
)
def test_gpu(cards: list[machine.Card], backend: str, verdict: str, text: str) -> None:
    found = only(machine.gpu(cards, backend))
    assert (found.verdict, text in found.said) == (verdict, True), found


def test_cards_are_read_from_nvidias_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (card,) = machine.installed_cards()
    assert (card.name, round(card.vram_gb, 1), card.compute_capability) == ("NVIDIA H100 80GB HBM3", 85.5, 9.0)
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert machine.installed_cards() == []


def test_each_file_system_is_told_once_and_nothing_is_made(tmp_path: Path) -> None:
    found = list(disks.disks(Settings(loosh_home=tmp_path / "home")))
    assert [each.subject for each in found] == ["disk"]
    assert f"{tmp_path} (LOOSH_HOME)" in found[0].said
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    found = [each for each in disks.disks(Settings(loosh_home=tmp_path / "home")) if each.verdict == "wrong"]
    assert [each.said for each in found] == [f"{tmp_path / 'home'} (LOOSH_HOME) is no directory"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "cannot be written by this user"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
def test_why_a_disk_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refused)
    found = only(each for each in disks.disks(Settings(loosh_home=tmp_path)) if each.verdict == "wrong")
    assert text in found.said
    assert found.todo


def test_a_full_disk_is_one_finding_whatever_lies_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", refused)
    for name in ("heatmaps", "tables"):
        (tmp_path / name).mkdir()
    found = only(disks.disks(Settings(loosh_home=tmp_path)))
    assert found.said == f"{tmp_path} (LOOSH_HOME, HEATMAPS_DIR, TABLES_DIR) is full"


@pytest.mark.parametrize(
    ("free_gb", "files", "verdict"),
    [(0.5, 10**6, "wrong"), (20, 10**6, "look"), (80, 10**6, "ok"), (80, 9, "wrong")],
)
def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, files: int, verdict: str) -> None:
    numbers = list(os.statvfs(tmp_path))
    block = numbers[1]
    numbers[4:8] = [int(free_gb * 1e9 / block), 10**7, files, files]
    monkeypatch.setattr("os.statvfs", lambda _path: os.statvfs_result(numbers))
    assert disks.room("LOOSH_HOME", tmp_path).verdict == verdict


def on_free_ports(home: Path, **changes: Any) -> Settings:
    names = ("api_port", "dagster_port", "code_server_port", "embedder_port")
    return Settings(loosh_home=home, **dict(zip(names, free_ports(4), strict=True)), **changes)


def test_an_embedder_elsewhere_needs_no_port(tmp_path: Path) -> None:
    settings = on_free_ports(tmp_path, embedder_url="http://gpu:8801")
    assert "EMBEDDER_PORT" not in only(ports.ports(settings, runs=False)).said


def test_a_port_held_by_this_validator_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, ours = on_free_ports(tmp_path), ports.Holder(7, "ours")
    monkeypatch.setattr(ports, "processes_of", lambda _home: [ours])
    with socket.create_server(("127.0.0.1", settings.api_port)):
        found = only(ports.ports(settings, runs=False, holder=lambda _port: ours))
    assert (found.verdict, f"{settings.api_port} (API_PORT) held by this validator" in found.said) == ("ok", True)


def test_a_validator_that_runs_and_does_not_listen(tmp_path: Path) -> None:
    found = only(ports.ports(on_free_ports(tmp_path), runs=True))
    assert (found.verdict, "does not listen on" in found.said) == ("look", True)


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    found = next(ports.ports(on_free_ports(tmp_path, api_host="192.0.2.1"), runs=False))
    assert (found.verdict, found.said) == ("wrong", "API_HOST (192.0.2.1) is no address of this machine")


def test_a_holder_that_cannot_be_seen(tmp_path: Path) -> None:
    settings = on_free_ports(tmp_path)
    with socket.create_server(("127.0.0.1", settings.api_port)):
        found = next(ports.ports(settings, runs=False, holder=lambda _port: None))
    assert "in use by a program of another user" in found.said


def test_an_address_in_brackets(tmp_path: Path) -> None:
    found = next(ports.ports(on_free_ports(tmp_path, api_host="[::1]"), runs=False))
    assert (found.verdict, found.todo) == ("wrong", "write it without brackets: ::1")


def test_who_listens_elsewhere_is_not_the_one() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        assert ports.not_bindable("127.0.0.1", port) is None
        assert ports.holder_of(port, "127.0.0.1") is None
        for host in ("127.0.0.2", "0.0.0.0", ""):
            assert ports.not_bindable(host, port) == errno.EADDRINUSE
            holder = ports.holder_of(port, host)
            assert holder is not None
            assert holder.pid == os.getpid()


def test_looking_at_a_port_listens_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*_: object) -> None:
        raise AssertionError("somebody could connect")

    (port,) = free_ports(1)
    monkeypatch.setattr(socket.socket, "listen", listen)
    assert ports.not_bindable("127.0.0.1", port) is None


def test_a_validator_by_another_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ports are held by the process that holds the directory, whatever its environment says."""
    settings = on_free_ports(tmp_path / "link")
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    monkeypatch.setattr(ports, "processes_of", lambda _home: [])
    held = (settings.api_port, settings.dagster_port, settings.code_server_port, settings.embedder_port)
    with validator_lock(tmp_path / "home"), ExitStack() as servers:
        for port in held:
            servers.enter_context(socket.create_server(("127.0.0.1", port)))
        assert only(ports.ports(settings, runs=True)).verdict == "ok"
        assert {each.verdict for each in ports.ports(settings, runs=False)} == {"wrong"}
