"""How long asking why takes: `python -m benchmarks.audit [--quick] [--json]`.

A home is made with 24 hours of rounds at 1,000 challenges an hour, seven of 256 miners in each, and weights that were
set by them (`benchmarks.audit_home`). Each figure is the wall time of a whole command in a process of its own, the
start of Python included, the median of three:

    explain_s         `loosh explain HOTKEY` of a miner that was asked in every round, the longest receipt there is
    explain_usual_s   the same of one that was asked like the others
    diff_s            `loosh diff` of the profile that pays and the shadow, both stored
    whatif_policy_s   `loosh whatif` on emissions and policy: exact, from stored rows
    whatif_without_s  the same without two miners, which settles all rounds again
    whatif_sample_s   `loosh whatif` on what is measured of texts: a sample of rounds is scored anew
    verify_s          `python -m loosh_pipeline.audit.verify` of a bundle of 500 rounds with all texts and vectors
    verify_rss_mb     the most memory that it took

A figure is left out, and said so, where its command is not there. `--quick` takes 2,400 rounds, and 50 for the bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.audit_bundle import bundle
from benchmarks.audit_home import ALWAYS, Day, fill, set_epoch, size_of
from benchmarks.figures import Load, show
from loosh_pipeline.devnet.stored_rounds import ASKED, MINERS, Sample, hotkey_of, samples
from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.settings import Settings, get_settings

ROUNDS, QUICK_ROUNDS = 24_000, 2_400
BUNDLE_ROUNDS, QUICK_BUNDLE_ROUNDS = 500, 50
SAMPLES, QUICK_SAMPLES = 48, 12
REPEAT = 3
LOOSH = (sys.executable, "-m", "loosh_pipeline.cli")
EXACT = ("whatif", "--json")
COMMANDS = {
    "explain_s": ("explain", hotkey_of(ALWAYS[0]), "--json"),
    "explain_usual_s": ("explain", hotkey_of(7), "--json"),
    "diff_s": ("diff", "--a", "robust", "--b", "network", "--json"),
    "whatif_policy_s": (*EXACT, "--set", "half_life=6", "--set", "entity_cap=0.1"),
    "whatif_without_s": (*EXACT, "--without", hotkey_of(7), "--without", hotkey_of(8)),
    "whatif_sample_s": (*EXACT, "--set", "context_rounds=1000"),
}
KB_PER_MB = 1024
MEASURED = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
os.write(int(sys.argv[1]), str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
sys.exit(code if code >= 0 else 128 - code)
"""
"""Starts a command from a small process: one that a large process forks counts that one's memory as its own."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended well: how long it took, the most memory, and what it said."""

    seconds: float
    rss_mb: float
    said: str


def ran(command: Sequence[str], environment: dict[str, str]) -> Ran:
    """Exits with what it said where it fails."""
    seen, told = os.pipe()
    started_s = time.perf_counter()
    measured = [sys.executable, "-S", "-c", MEASURED, str(told), *command]
    done = subprocess.run(measured, env=environment, capture_output=True, text=True, pass_fds=[told], check=False)
    seconds = time.perf_counter() - started_s
    os.close(told)
    with os.fdopen(seen) as pipe:
        most = pipe.read()
    if done.returncode:
        said = f"{done.stderr[-2_000:]}{done.stdout[-500:]}"
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return Ran(seconds, int(most) / KB_PER_MB, done.stdout)


@contextmanager
def home(rounds: int, drawn: Sequence[Sample]) -> Iterator[tuple[Settings, dict[str, str]]]:
    """One with an epoch; its settings, and the environment of commands that look at it."""
    with tempfile.TemporaryDirectory(prefix="loosh-audit-") as folder:
        settings = Settings(loosh_home=Path(folder), scoring_profiles=("robust", "network"))
        day, started_s = Day(rounds, datetime.now(UTC)), time.perf_counter()
        fill(settings, drawn, day)
        number = set_epoch(settings, day)
        taken_s, size_mb = time.perf_counter() - started_s, size_of(Path(folder)) / 1e6
        say(f"{rounds} rounds made and weights set, epoch {number}: {taken_s:.0f} s, {size_mb:.0f} MB")
        named = {"LOOSH_HOME": folder, "SCORING_PROFILES": "robust,network", "PAY_PROFILE": "robust"}
        yield settings, {**os.environ, **named}


def there_is(command: str, environment: dict[str, str]) -> bool:
    shown = subprocess.run([*LOOSH, command, "--help"], env=environment, capture_output=True, check=False)
    return shown.returncode == 0


def medians(environment: dict[str, str], load: Load) -> dict[str, float]:
    """Of the commands."""
    figures = {}
    for name, command in COMMANDS.items():
        if not there_is(command[0], environment):
            say(f"{name} is not measured: there is no loosh {command[0]}")
            continue
        taken = []
        for _ in range(REPEAT):
            found = ran([*LOOSH, *command], environment)
            _check(name, json.loads(found.said))
            taken.append(found.seconds)
            load.note()
        figures[name] = round(statistics.median(taken), 2)
        say(f"{name} {figures[name]} {[round(each, 2) for each in taken]}")
    return figures


def _check(name: str, said: dict[str, Any]) -> None:
    """That it did what is measured."""
    if name.startswith("whatif"):
        exact = name != "whatif_sample_s"
        if not said["verified"] or said["exact"] is not exact or said["unscorable"]:
            raise SystemExit(f"{name}: {said['how']}, {said['differing']}, {said['unscorable'][:1]}")
    if name == "explain_s" and len(said["rounds"]) != said["epoch"]["rounds"]:
        raise SystemExit(f"{name}: {len(said['rounds'])} rounds of {said['epoch']['rounds']}")
    if name == "diff_s" and not said["rounds"] == said["a"]["rounds"] == said["b"]["rounds"]:
        raise SystemExit(f"{name}: {said['rounds']} rounds of {said['a']['rounds']} and {said['b']['rounds']}")


def verification(rounds: int, drawn: Sequence[Sample], load: Load) -> dict[str, float]:
    """Of a bundle with all texts and vectors, by a stranger's command. Exits where it is no match."""
    with home(rounds, drawn) as (settings, environment):
        file = bundle(settings)
        say(f"a bundle of {rounds} rounds: {file.stat().st_size / 1e6:.0f} MB")
        found = []
        for _ in range(REPEAT):
            found.append(ran([sys.executable, "-m", "loosh_pipeline.audit.verify", str(file), "--json"], environment))
            load.note()
    return {
        "verify_s": round(statistics.median(each.seconds for each in found), 2),
        "verify_rss_mb": round(statistics.median(each.rss_mb for each in found)),
        "verify_rounds": rounds,
    }


def measure(rounds: int, sampled: int, bundled: int) -> dict[str, Any]:
    """All figures."""
    load, settings = Load(), get_settings()
    model = load_model(BUILTIN, "auto", settings.embedder_threads, settings.models_root)
    drawn = samples(model, sampled)
    say(f"{sampled} rounds embedded")
    with home(rounds, drawn) as (_, environment):
        figures: dict[str, Any] = medians(environment, load)
    figures |= verification(bundled, drawn, load)
    return {**figures, "rounds": rounds, "asked": ASKED, "miners": MINERS, **load.figures()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    sizes = (QUICK_ROUNDS, QUICK_SAMPLES, QUICK_BUNDLE_ROUNDS) if chosen.quick else (ROUNDS, SAMPLES, BUNDLE_ROUNDS)
    show(measure(*sizes) | {"quick": chosen.quick, "cpus": os.cpu_count()}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
