"""What the processes that execute runs spend their processor time on, without a line for it in the product.

A benchmark starts the validator's processes with `environment(folder)`: Python then imports a `sitecustomize` from that
folder at its start, which calls `install`. As the modules named in `TARGETS` are imported, their functions are wrapped,
and the processor time of each process, all its threads, is added up by kind in a file of its own, in memory that
outlives the process however it ends. Time within a wrapped function that another wrapped one spends counts for the
inner one. Only calls on a main thread count: that is where runs are executed, one at a time; what servers do in other
threads belongs to no run.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import inspect
import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

FOLDER = "BENCHMARK_ACCOUNTING"
KINDS = ("embedding", "scoring", "storage", "wire", "presentation")
EVERYTHING = "*"
"""All public functions of a module, or all public methods of a class."""

TARGETS: Mapping[str, Mapping[str, str]] = {
    "loosh_pipeline.embedding.round_vectors": {"embed_round": "embedding", "unpack": "scoring"},
    "loosh_pipeline.scoring.score": {"score": "scoring"},
    "loosh_pipeline.store.database": {"open_database": "storage"},
    "loosh_pipeline.store.inbox": {"Inbox.*": "storage"},
    "loosh_pipeline.store.outbox": {"Outbox.*": "storage"},
    "loosh_pipeline.store.presenting": {"Presenting.*": "storage"},
    "loosh_pipeline.store.runs": {"Runs.*": "storage"},
    "loosh_pipeline.store.sessions": {"MinerSessions.*": "storage"},
    "loosh_pipeline.store.tables": {"Tables.*": "storage"},
    "loosh_pipeline.store.score_tables": {"ScoreTables.*": "storage"},
    "loosh_pipeline.store.frames": {EVERYTHING: "storage"},
    "loosh_pipeline.store.score_frames": {EVERYTHING: "storage"},
    "loosh_pipeline.store.asking_frames": {EVERYTHING: "storage"},
    "loosh_pipeline.delivery": {"deliver_due": "wire", "evaluation_of": "wire", "result_of": "wire"},
    "loosh_pipeline.heatmap": {EVERYTHING: "presentation"},
    "loosh_pipeline.narrative.narrator": {"RoundNarrator.narrate": "presentation"},
    "resources.miners": {"WireMiners.ask": "wire"},
}
"""Kinds by module and function. Whatever else a run does is orchestration."""


class Counters:
    """Seconds of this process by kind, in a file that is shared memory; a forked child begins another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()

    def _open(self) -> None:
        path = self._folder / f"{os.getpid()}.{time.time_ns()}"
        with open(path, "w+b") as file:
            file.truncate(8 * len(KINDS))
            self._memory = mmap.mmap(file.fileno(), 8 * len(KINDS))
        self._seconds = [0.0] * len(KINDS)
        self._open_kinds: list[int] = []
        self._since_s = time.process_time()

    def after_fork(self) -> None:
        """What the parent has counted is the parent's."""
        self._open()

    def enter(self, kind: int) -> None:
        self._charge()
        self._open_kinds.append(kind)

    def leave(self) -> None:
        self._charge()
        if self._open_kinds:  # none in the child of a fork within a wrapped function
            self._open_kinds.pop()

    def _charge(self) -> None:
        """The time since the last change is that of the innermost function."""
        now_s = time.process_time()
        if self._open_kinds:
            kind = self._open_kinds[-1]
            self._seconds[kind] += now_s - self._since_s
            struct.pack_into("d", self._memory, 8 * kind, self._seconds[kind])
        self._since_s = now_s


def environment(folder: Path) -> Mapping[str, str]:
    """What processes are to be started with, so that their counters appear in `folder`."""
    hook = folder / "hook"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text("from benchmarks.accounting import install\n\ninstall()\n")
    root = str(Path(__file__).resolve().parent.parent)
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {FOLDER: str(folder), "PYTHONPATH": os.pathsep.join([str(hook), root, *inherited])}


def install() -> None:
    """Called in every process at its start: wrap what is imported from now on."""
    counters = Counters(Path(os.environ[FOLDER]))
    os.register_at_fork(after_in_child=counters.after_fork)
    sys.meta_path.insert(0, _Wrapping(counters))


def seconds_of(folder: Path) -> dict[int, dict[str, float]]:
    """What every process has counted so far, by pid; of processes that share one, together."""
    found: dict[int, dict[str, float]] = {}
    for path in folder.glob("[0-9]*.[0-9]*"):
        content = path.read_bytes()
        if len(content) < 8 * len(KINDS):
            continue  # about to be made
        sums = found.setdefault(int(path.name.partition(".")[0]), dict.fromkeys(KINDS, 0.0))
        for kind, seconds in zip(KINDS, struct.unpack(f"{len(KINDS)}d", content), strict=True):
            sums[kind] += seconds
    return found


class _Wrapping(importlib.abc.MetaPathFinder):
    """Finds the modules of `TARGETS` as the others do, and wraps their functions once they are executed."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in TARGETS:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._counters)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, counters: Counters) -> None:
        self._loader = loader
        self._counters = counters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for pattern, kind in TARGETS[module.__name__].items():
            for place, name, function in functions_of(module, pattern):
                setattr(place, name, _counted(self._counters, KINDS.index(kind), function))


def functions_of(module: ModuleType, pattern: str) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Where each function lies that a pattern of `TARGETS` names, its name there, and itself. Raises AttributeError."""
    owner, _, name = pattern.rpartition(".")
    place: Any = getattr(module, owner) if owner else module
    if name != EVERYTHING:
        if not _is_plain(held := inspect.getattr_static(place, name), module):
            raise AttributeError(f"{module.__name__}.{pattern} is no plain function to wrap")
        yield place, name, held
        return
    for each, held in list(vars(place).items()):
        if not each.startswith("_") and _is_plain(held, module):
            yield place, each, held


def _is_plain(held: object, module: ModuleType) -> TypeGuard[Callable[..., Any]]:
    """Whether it is a function of this module that has done its work when it returns."""
    ours = inspect.isfunction(held) and held.__module__ == module.__name__
    return ours and not inspect.isgeneratorfunction(held) and not inspect.iscoroutinefunction(held)


def _counted(counters: Counters, kind: int, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def counted(*args: Any, **named: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return function(*args, **named)
        counters.enter(kind)
        try:
            return function(*args, **named)
        finally:
            counters.leave()

    return counted
