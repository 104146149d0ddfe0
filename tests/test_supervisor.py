"""Real processes, tiny ones: started, watched, restarted, stopped, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loosh_pipeline import log_files
from loosh_pipeline import supervisor as module
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.supervisor import Service, Supervisor, free_ports, listens, uninterrupted

WITHIN_S = 10.0
SLEEP = "import time; time.sleep(600)"
SERVE = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print('child', child.pid, flush=True); time.sleep(600)"
)

Start = Callable[..., Supervisor]


def python(name: str, code: str, *arguments: object, **fields: object) -> Service:
    return Service(name, [sys.executable, "-c", code, *map(str, arguments)], **fields)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """No such process, or one that only waits for its parent to read its end."""
    return state_of(pid) in (None, "Z")


def state_of(pid: int) -> str | None:
    """The kernel's letter for it: T is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


def pid_of(supervisor: Supervisor, name: str) -> int:
    return supervisor.pids()[name]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def start(tmp_path: Path, said: list[str]) -> Iterator[Start]:
    started: list[Supervisor] = []

    def start(*services: Service, timeout_s: float = WITHIN_S) -> Supervisor:
        supervisor = Supervisor(services, tmp_path / "logs", said.append)
        started.append(supervisor)
        supervisor.start(timeout_s)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()
        assert not any(child.process.poll() is None for child in supervisor._children.values())


def log_of(tmp_path: Path, name: str) -> str:
    path = tmp_path / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def test_started_in_order_and_ready_when_it_listens(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    connects = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print('met'); "
    slow = "import time; time.sleep(0.3); " + SERVE
    supervisor = start(
        python("server", slow, port, port=port),
        python("client", connects + SLEEP, port, after=["server"], env={"PYTHONUNBUFFERED": "1"}),
    )
    assert supervisor.alive()
    assert listens(port)
    eventually(lambda: "met" in log_of(tmp_path, "client"))


def test_environment_and_output_are_the_services_own(start: Start, tmp_path: Path) -> None:
    shows = "import os, sys; print(os.environ['OF_MINE'], file=sys.stderr); print(b'\\xff'.decode('latin1')); "
    start(python("a", shows + "sys.stdout.flush(); " + SLEEP, env={"OF_MINE": "é is kept"}))
    eventually(lambda: log_of(tmp_path, "a").splitlines() == ["é is kept", "ÿ"])


def test_a_service_works_in_its_own_directory(start: Start, tmp_path: Path) -> None:
    start(python("a", "import os; print(os.getcwd(), flush=True); " + SLEEP, cwd=tmp_path))
    eventually(lambda: log_of(tmp_path, "a") == f"{tmp_path}\n")


def test_killed_is_restarted_at_once_and_its_neighbour_is_left_alone(start: Start, said: list[str]) -> None:
    supervisor = start(python("a", SLEEP), python("b", SLEEP))
    first, neighbour = pid_of(supervisor, "a"), pid_of(supervisor, "b")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    supervisor.check()
    supervisor.check()
    assert supervisor.alive()
    assert pid_of(supervisor, "a") != first
    assert pid_of(supervisor, "b") == neighbour
    assert said == [f"a ended with code -9; restarting in 0 s (see {supervisor._logs.path('a')})"]


def test_one_service_is_stopped_while_something_is_done_and_started_again(start: Start, said: list[str]) -> None:
    supervisor = start(python("a", SLEEP), python("b", SLEEP))
    first, neighbour = pid_of(supervisor, "a"), pid_of(supervisor, "b")
    with supervisor.stopped("a"):
        assert gone(first)
        assert not gone(neighbour)
    supervisor.check()
    assert pid_of(supervisor, "a") != first
    assert (supervisor.alive(), said) == (True, [])


def test_what_is_inherited_stays_open_in_every_service(start: Start, tmp_path: Path, said: list[str]) -> None:
    shows = "import os, sys; os.fstat(int(sys.argv[1])); print('open', flush=True); " + SLEEP
    with (tmp_path / "held").open("w") as file:
        supervisor = Supervisor([python("a", shows, file.fileno())], tmp_path / "logs", said.append, [file.fileno()])
        supervisor.start(WITHIN_S)
        eventually(lambda: log_of(tmp_path, "a") == "open\n")
        supervisor.stop()


def test_a_service_runs_on_when_its_output_can_be_kept_nowhere(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").mkdir()
    fills_a_pipe = "import sys, pathlib; print('x' * 300_000, flush=True); pathlib.Path(sys.argv[1]).touch(); " + SLEEP
    supervisor = Supervisor([python("a", fills_a_pipe, tmp_path / "past")], tmp_path / "logs", said.append)
    supervisor.start(WITHIN_S)
    eventually((tmp_path / "past").exists)
    supervisor.stop()
    assert [line.partition(":")[0] for line in said] == ["the output of a is kept nowhere"]


def test_what_dies_again_and_again_waits_longer_each_time_and_settles(
    start: Start, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    supervisor = start(python("a", "raise SystemExit(3)"))

    def die(lived_s: float = 0.0) -> str:
        nonlocal now_s
        supervisor._children["a"].process.wait()
        now_s += lived_s
        supervisor.check()
        now_s += module.LONGEST_PAUSE_S
        supervisor.check()
        return said[-1].partition("restarting in ")[2].partition(" (")[0]

    assert [die() for _ in range(7)] == ["0 s", "2 s", "4 s", "8 s", "16 s", "30 s", "30 s"]
    assert die(lived_s=module.SETTLED_AFTER_S + 1) == "0 s"
    assert die() == "2 s"


def test_no_restart_before_its_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = start(python("a", SLEEP))
    supervisor._children["a"].failures = 3
    os.kill(pid_of(supervisor, "a"), signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    for _ in range(3):
        supervisor.check()
    assert not supervisor.alive()


def test_what_a_dead_service_left_behind_is_killed(start: Start, tmp_path: Path) -> None:
    supervisor = start(python("a", PARENT))
    eventually(lambda: "child" in log_of(tmp_path, "a"))
    orphan = int(log_of(tmp_path, "a").split()[1])
    os.kill(pid_of(supervisor, "a"), signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    supervisor.check()
    eventually(lambda: gone(orphan))


def test_a_restart_that_fails_is_tried_again(start: Start, said: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    supervisor = start(Service("a", [str(program), "-c", SLEEP]))
    program.unlink()
    os.kill(pid_of(supervisor, "a"), signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    supervisor.check()
    supervisor.check()
    assert "a cannot start: " in said[-1]
    assert "restarting in 2 s" in said[-1]


def test_stop_ends_everything_with_its_children(start: Start, tmp_path: Path) -> None:
    says = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('ended', time.monotonic(), flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(600)\n"
    )
    supervisor = start(python("a", says), python("b", PARENT))
    eventually(lambda: "up" in log_of(tmp_path, "a") and "child" in log_of(tmp_path, "b"))
    child = int(log_of(tmp_path, "b").split()[1])
    begun_s = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begun_s < 5
    assert not supervisor.alive()
    assert "ended" in log_of(tmp_path, "a"), "its last words are in the log when stop returns"
    eventually(lambda: gone(child))


def test_what_ignores_sigterm_is_killed(start: Start, said: list[str], tmp_path: Path) -> None:
    supervisor = start(python("deaf", STUBBORN, stop_within_s=0.3), python("b", SLEEP))
    eventually(lambda: "deaf" in log_of(tmp_path, "deaf"))
    supervisor.stop()
    assert said == ["deaf did not stop within 0.3 s; killed"]
    assert gone(pid_of(supervisor, "deaf"))


def test_what_was_stopped_by_a_signal_is_killed_too(start: Start, said: list[str]) -> None:
    supervisor = start(python("a", SLEEP, stop_within_s=0.3))
    os.kill(pid_of(supervisor, "a"), signal.SIGSTOP)
    eventually(lambda: state_of(pid_of(supervisor, "a")) == "T")
    supervisor.stop()
    assert said == ["a did not stop within 0.3 s; killed"]
    assert gone(pid_of(supervisor, "a"))


def test_what_even_a_kill_does_not_end_is_told_and_not_waited_for(
    start: Start, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = start(python("a", SLEEP, stop_within_s=0.1))
    with monkeypatch.context() as patch:
        patch.setattr(module, "KILLED_WITHIN_S", 0.1)
        patch.setattr(module, "_signal_group", lambda *_: None)
        supervisor.stop()
    assert said[-1] == f"a (process {pid_of(supervisor, 'a')}) cannot be killed: it hangs in the kernel"


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interruptible")
def test_told_to_stop_while_it_stops_it_stops_all_the_same(start: Start, tmp_path: Path) -> None:
    supervisor = start(python("deaf", STUBBORN, stop_within_s=0.5), python("b", SLEEP))
    eventually(lambda: "deaf" in log_of(tmp_path, "deaf"))
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt):
        supervisor.stop()
    assert all(gone(pid) for pid in supervisor.pids().values())
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_told_to_stop_while_a_process_is_started_it_knows_that_process(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]
) -> None:
    supervisor = Supervisor([python("a", SLEEP), python("b", SLEEP)], tmp_path / "logs", said.append)
    popen = subprocess.Popen

    def interrupted(*arguments: object, **options: object) -> object:
        process = popen(*arguments, **options)  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(module.subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        supervisor.start(WITHIN_S)
    assert list(supervisor.pids()) == ["a"]
    supervisor.stop()
    assert gone(pid_of(supervisor, "a"))


def test_elsewhere_than_in_the_main_thread_nothing_is_put_off() -> None:
    seen: list[object] = []

    def work() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_supervise_restarts_until_it_is_stopped(start: Start, said: list[str]) -> None:
    supervisor = start(python("a", SLEEP))
    first = pid_of(supervisor, "a")

    def then_stop(line: str) -> None:
        said.append(line)
        supervisor._stopping.set()

    supervisor._say = then_stop
    os.kill(first, signal.SIGKILL)
    supervisor.supervise()
    assert len(said) == 1


def test_death_before_ready_is_told_with_the_end_of_the_log(start: Start) -> None:
    (port,) = free_ports(1)
    code = "print('\\n'.join(map(str, range(100)))); raise SystemExit('the disk is full')"
    with pytest.raises(
        ServiceError, match=r"(?s)^a ended with code 1 before it was ready:\n76\n.*99\nthe disk is full$"
    ):
        start(python("a", code, port=port))


def test_silence_is_told_too(start: Start) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ServiceError, match=f"a does not listen on port {port}; its log ends:\n"):
        start(python("a", SLEEP, port=port), timeout_s=0.3)


def test_a_taken_port_is_told_and_not_mistaken_for_readiness(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"something listens on 127.0.0.1:{port} already"):
            start(python("a", SERVE, port, port=port))


def test_a_program_that_is_not_there_is_told(start: Start) -> None:
    with pytest.raises(ServiceError, match=r"a cannot start: .*no-such-program"):
        start(Service("a", ["/no-such-program"]))


def test_logs_are_rotated_and_bounded(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES", 2000)
    monkeypatch.setattr(log_files, "LOG_FILES", 2)
    start(python("a", "[print(f'line {n:04}') for n in range(1000)]; print('end', flush=True); " + SLEEP))
    eventually(lambda: log_of(tmp_path, "a").endswith("end\n"))
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 2000 for path in (tmp_path / "logs").iterdir())


def test_a_line_without_end_does_not_fill_the_memory(start: Start, tmp_path: Path) -> None:
    size = 3 * log_files.LINE_BYTES
    start(python("a", f"import sys; sys.stdout.write('x' * {size}); sys.stdout.flush(); " + SLEEP))
    eventually(lambda: log_of(tmp_path, "a").count("x") >= size - log_files.CARRIED_CHARS)


def test_a_restart_goes_on_in_the_same_log_even_when_it_was_removed(start: Start, tmp_path: Path) -> None:
    supervisor = start(python("a", "print('hello', flush=True); " + SLEEP))
    eventually(lambda: log_of(tmp_path, "a") == "hello\n")
    for expected in ("hello\nhello\n", "hello\n"):
        if expected == "hello\n":
            (tmp_path / "logs" / "a.log").unlink()
            (tmp_path / "logs").rmdir()
            supervisor._children["a"].failures = 0
        os.kill(pid_of(supervisor, "a"), signal.SIGKILL)
        eventually(lambda: not supervisor.alive())
        supervisor.check()
        supervisor.check()
        eventually(lambda expected=expected: log_of(tmp_path, "a") == expected)


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is signalled on Linux only")
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from loosh_pipeline.supervisor import Service, Supervisor; "
        f"s = Supervisor([Service('a', [sys.executable, '-c', {SLEEP!r}])], Path({str(tmp_path)!r}), print); "
        "s.start(); print(s._children['a'].process.pid, flush=True); s.supervise()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert not gone(child)
        process.kill()
    eventually(lambda: gone(child))


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(listens(port) for port in ports)
