"""Starts processes, restarts what dies, and stops all of them cleanly.

Every process gets a group of its own, so that Ctrl-C reaches the supervisor alone and the order of stopping is
ours. A process does not outlive a supervisor that is killed (on Linux).
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from loosh_pipeline.errors import ServiceError
from loosh_pipeline.log_files import LogFiles, Say

STOP_WITHIN_S = 15.0
KILLED_WITHIN_S = 5.0
"""How long the end of a killed process is waited for: one that hangs in the kernel, on a lost disk, has none."""
LAST_WORDS_S = 1.0
"""How long the ends of all logs are waited for: a process that left its group may hold a pipe open for ever."""
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
SETTLED_AFTER_S = 60.0
LONGEST_PAUSE_S = 30.0
DEATHS_KEPT = 20
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded here: a child between fork and exec must not load libraries."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process to keep running. `port` is where it listens when it is ready; None when it serves nothing."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    host: str = "127.0.0.1"
    cwd: Path | None = None
    after: Sequence[str] = ()
    """Services that must be ready before this one is started."""
    stop_within_s: float = STOP_WITHIN_S
    """How long it may take to stop before it is killed."""
    stops_its_own: bool = False
    """Whether it stops its own children when it is told to: they may have something to finish."""


@dataclass(slots=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes]
    log: threading.Thread
    started_s: float
    failures: int = 0
    restart_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """An end of a process that nobody asked for, or a start that failed."""

    at: datetime
    why: str


class Supervisor:
    """Keeps services running from `start` until `stop`. Their output goes to `logs_dir/NAME.log`, rotated.

    `inherited`: descriptors that they keep open. `files`: what keeps their lines, where others
    write there too.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs_dir: Path,
        say: Say,
        inherited: Sequence[int] = (),
        files: LogFiles | None = None,
    ) -> None:
        self._services = services
        self._inherited = inherited
        self._logs = files or LogFiles(logs_dir, say)
        self._say = say
        self._deaths: dict[str, deque[Death]] = {}
        self._died: Counter[str] = Counter()
        self._children: dict[str, _Child] = {}
        self._stopping = threading.Event()

    def start(self, timeout_s: float = 120.0) -> None:
        """Start everything in order of dependence. Raises ServiceError with the end of a log when one does not come up.

        Call it from the main thread: the processes die with the thread that started them.
        """
        deadline_s = time.monotonic() + timeout_s
        for service in self._services:
            for name in service.after:
                self._wait_ready(self._children[name], deadline_s)
            self._start_one(service)
        for child in self._children.values():
            self._wait_ready(child, deadline_s)

    def _start_one(self, service: Service) -> None:
        if service.port is not None and listens(service.port, service.host):
            raise ServiceError(
                f"{service.name} cannot start: something listens on {service.host}:{service.port} already; "
                "stop it, or give this one another port"
            )
        try:
            self._spawn(service)
        except OSError as error:
            raise ServiceError(f"{service.name} cannot start: {error}") from error

    def supervise(self, each_time: Callable[[], object] = lambda: None) -> None:
        """Restart what dies, until `stop` is called from a signal handler or Ctrl-C interrupts."""
        while not self._stopping.wait(0.5):
            self.check()
            each_time()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """One service does not run while the block does."""
        child = self._children[name]
        child.restart_at_s = None
        self._stop([child])
        try:
            yield
        finally:
            self._restart(child, time.monotonic())

    def alive(self) -> bool:
        """Whether every process runs right now."""
        return all(child.process.poll() is None for child in self._children.values())

    def pids(self) -> Mapping[str, int]:
        """The process of every service that was started, by the service's name."""
        return {name: child.process.pid for name, child in self._children.items()}

    def deaths(self) -> Mapping[str, Sequence[Death]]:
        """The last ends of services that were started again, by the service's name; the newest last."""
        return {name: tuple(deaths) for name, deaths in self._deaths.items()}

    def died(self) -> Mapping[str, int]:
        """How often each ended so, since `start`."""
        return dict(self._died)

    def stop(self) -> None:
        """Ask all to stop, in reverse order; what does not end in time is killed. Nothing interrupts this.

        It takes as long as the longest `stop_within_s`, and some seconds where killing is not enough.
        """
        self._stopping.set()
        with uninterrupted():
            self._stop(list(reversed(self._children.values())))
            self._logs.close()

    def _stop(self, children: Sequence[_Child]) -> None:
        for child in children:
            _ask_to_stop(child)
        asked_s = time.monotonic()
        for child in children:
            self._end(child, asked_s)
        killed_s = time.monotonic()
        for child in children:
            self._read_to_end(child, killed_s)

    def _end(self, child: _Child, asked_s: float) -> None:
        within_s = child.service.stop_within_s
        try:
            child.process.wait(max(0.1, asked_s + within_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{child.service.name} did not stop within {within_s:g} s; killed")
        _signal_group(child.process, signal.SIGKILL)

    def _read_to_end(self, child: _Child, killed_s: float) -> None:
        try:
            child.process.wait(max(0.1, killed_s + KILLED_WITHIN_S - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{child.service.name} (process {child.process.pid}) cannot be killed: it hangs in the kernel")
        child.log.join(max(0.0, killed_s + LAST_WORDS_S - time.monotonic()))

    def check(self) -> None:
        """Restart what died and is due; called in a loop by `supervise`."""
        now_s = time.monotonic()
        for child in list(self._children.values()):
            if child.restart_at_s is not None:
                if now_s >= child.restart_at_s:
                    self._restart(child, now_s)
            elif (code := child.process.poll()) is not None:
                _signal_group(child.process, signal.SIGKILL)  # whatever it left behind holds its port
                child.failures = 0 if now_s - child.started_s > SETTLED_AFTER_S else child.failures
                self._restart_later(child, now_s, f"ended with code {code}")

    def _restart(self, child: _Child, now_s: float) -> None:
        try:
            self._spawn(child.service, child.failures)
        except OSError as error:
            self._restart_later(child, now_s, f"cannot start: {error}")

    def _restart_later(self, child: _Child, now_s: float, why: str) -> None:
        name = child.service.name
        pause_s = min(2.0 ** min(child.failures, 10), LONGEST_PAUSE_S) if child.failures else 0.0
        child.failures += 1
        self._deaths.setdefault(name, deque(maxlen=DEATHS_KEPT)).append(Death(datetime.now(UTC), why))
        self._died[name] += 1
        child.restart_at_s = now_s + pause_s
        self._say(f"{name} {why}; restarting in {pause_s:g} s (see {self._logs.path(name)})")

    def _spawn(self, service: Service, failures: int = 0) -> None:
        with uninterrupted():  # a process that was started is known, and will be stopped
            self._children[service.name] = self._started(service, failures)

    def _started(self, service: Service, failures: int) -> _Child:
        process = subprocess.Popen(
            service.command,
            env={**os.environ, **service.env},
            cwd=service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self._inherited,
            preexec_fn=functools.partial(end_with, os.getpid()),
        )
        log = threading.Thread(target=self._logs.keep, args=(service.name, process.stdout), daemon=True)
        log.start()
        return _Child(service, process, log, time.monotonic(), failures)

    def _wait_ready(self, child: _Child, deadline_s: float) -> None:
        name, port = child.service.name, child.service.port
        while port is not None and not listens(port, child.service.host):
            if (code := child.process.poll()) is not None:
                raise ServiceError(f"{name} ended with code {code} before it was ready:\n{self.log_tail(name)}")
            if time.monotonic() > deadline_s:
                raise ServiceError(f"{name} does not listen on port {port}; its log ends:\n{self.log_tail(name)}")
            time.sleep(0.1)

    def log_tail(self, name: str, lines: int = 25) -> str:
        return self._logs.tail(name, lines)


@contextmanager
def supervised(
    services: Sequence[Service],
    logs_dir: Path,
    say: Say,
    timeout_s: float = 120.0,
    inherited: Sequence[int] = (),
    files: LogFiles | None = None,
    stopping: Callable[[], object] = lambda: None,
) -> Iterator[Supervisor]:
    """Services that are ready when the block begins and stopped when it ends, however it ends.

    `stopping` is called when they begin to stop.
    """
    supervisor = Supervisor(services, logs_dir, say, inherited, files)
    try:
        supervisor.start(timeout_s)
        yield supervisor
    finally:
        with uninterrupted():
            stopping()
            supervisor.stop()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the block has ended. Only the main thread is interrupted by them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    try:
        for number in INTERRUPTIONS:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on right now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _ask_to_stop(child: _Child) -> None:
    if not child.service.stops_its_own:
        _signal_group(child.process, signal.SIGTERM)
    elif child.process.poll() is None:
        child.process.terminate()


def end_with(supervisor_pid: int) -> None:
    """Runs in a child before exec, so that it ends when its supervisor does; and a shell's background job ignores
    SIGINT, and so would its children.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor_pid:  # it was killed before it could be watched
            os._exit(1)
