"""The program and the machine: Python, packages, cores, memory, GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from loosh_pipeline.compute import GpuNeeds, min_compute
from loosh_pipeline.doctor.finding import Finding, look, ok, wrong

PACKAGE = "loosh-pipeline"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
NVIDIA_WITHIN_S = 8.0
GB = 1e9
ROUNDING = 0.95
"""A machine sold with so many GB shows a little less."""


def python() -> Iterator[Finding]:
    """Whether this Python is one that the package is for."""
    version = platform.python_version()
    wanted = metadata.metadata(PACKAGE)["Requires-Python"]
    if version not in SpecifierSet(wanted, prereleases=True):
        yield wrong(
            "python", f"Python {version}; {wanted} is needed", "make .venv anew: `make setup PYTHON=python3.12`"
        )
    else:
        yield ok("python", f"Python {version} in {sys.prefix}")


def dependencies(constraints: Path = CONSTRAINTS) -> Iterator[Finding]:
    """Whether what is installed is within the bounds that are known to work, and the pinned set where that is known."""
    outside = [said for wanted in metadata.requires(PACKAGE) or () if (said := _unmet(Requirement(wanted)))]
    if outside:
        yield wrong("dependencies", "; ".join(outside), "install the pinned set again: `make setup`, or `uv sync`")
        return
    others = _unlike_pins(constraints)
    said = f"all {len(metadata.requires(PACKAGE) or ())} within their bounds"
    if others:
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        said += f"; not the pinned versions, with which everything was tested: {named}"
    yield ok("dependencies", said)


def _unmet(wanted: Requirement) -> str | None:
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return None
    installed = _installed(wanted.name)
    if installed is None:
        return f"{wanted.name} is missing"
    if not wanted.specifier.contains(installed, prereleases=True):
        return f"{wanted.name} is {installed}, {wanted.specifier} is needed"
    return None


def _unlike_pins(constraints: Path) -> list[str]:
    """Installed packages with another version than the pinned one; what is not installed counts for nothing."""
    if not constraints.is_file():
        return []
    lines = (line.partition("#")[0].strip() for line in constraints.read_text("utf-8").splitlines())
    pins = [Requirement(line) for line in lines if line]
    found = [(pin, _installed(pin.name)) for pin in pins]
    return [f"{pin.name} {at}" for pin, at in found if at is not None and not pin.specifier.contains(at, True)]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU: its memory in GB."""

    name: str
    vram_gb: float
    compute_capability: float


def cores(count: int | None = None) -> Iterator[Finding]:
    need = min_compute().validator.cpu
    count = count or _usable_cores()
    said = f"{count} cores; {need.min_cores} at least, {need.recommended_cores} recommended"
    if count < need.min_cores:
        yield look("processor", said, "challenges wait when more come than one core embeds; give it more cores")
    else:
        yield ok("processor", said)


def _usable_cores() -> int:
    """Those that this process may run on, where the system can say that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory(total_gb: float | None = None) -> Iterator[Finding]:
    need = min_compute().validator.memory
    total_gb = total_gb or memory_gb()
    said = f"{total_gb:.1f} GB; {need.min_ram:g} GB at least, {need.recommended_ram:g} GB recommended"
    if total_gb < need.min_ram * ROUNDING:
        yield look("memory", said, "set MAX_CONCURRENT_RUNS lower (a run takes 0.1 GB), PRESENT=later, or add memory")
    else:
        yield ok("memory", said)


def memory_gb(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float:
    """What this machine has, or the container that we are in may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int(cgroup.read_text())
    except (OSError, ValueError):  # no container's limit: there is no such file, or it says "max"
        limit = machine
    return min(machine, limit) / GB


def gpu(cards: list[Card] | None = None, backend: str = "auto") -> Iterator[Finding]:
    """None is needed; one that torch would take should hold the model."""
    need = min_compute().validator.gpu
    cards = installed_cards() if cards is None else cards
    if not cards:
        yield ok("gpu", "none, and none is needed: the embedder runs on the processor")
        return
    card = cards[0]
    said = f"{card.name}, {card.vram_gb:.0f} GB, compute capability {card.compute_capability}"
    if backend == "onnx":
        yield ok("gpu", f"{said}; not used (EMBEDDER_BACKEND=onnx)")
    elif _too_small(card, need):
        todo = "set EMBEDDER_BACKEND=onnx to embed on the processor"
        least = f"{need.min_vram:g} GB and {need.min_compute_capability} at least"
        yield look("gpu", f"{said}; {least} for embedding on it", todo)
    else:
        yield ok("gpu", said)


def _too_small(card: Card, need: GpuNeeds) -> bool:
    return card.vram_gb < need.min_vram * ROUNDING or card.compute_capability < need.min_compute_capability


def installed_cards() -> list[Card]:
    """NVIDIA's cards by its own tool; none where there is no such tool or it does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_WITHIN_S, check=True).stdout
        rows = [line.rsplit(",", 2) for line in told.splitlines() if line.strip()]
        return [Card(name.strip(), float(mib) * 2**20 / GB, float(capability)) for name, mib, capability in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
