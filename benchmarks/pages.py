"""How long the operator's pages take at 100,000 challenges: `python -m benchmarks.pages [--quick] [--json]`.

A home is made with 100,000 stored challenges, 1,000 a day, seven of 256 miners in each, and weights every 72 minutes of
those hundred days (`benchmarks.pages_home`). A real ingress serves it in a process of its own, as `loosh up` does; each
page is asked for over a socket as a browser does that is shown it for the first time, and then twenty times more:

    first_ms       the first answer, whole; the first of all pays for what the process loads
    p50_ms         the median of those after it
    p95_ms         the slowest but one of those twenty
    first_cpu_ms   processor time of the first in the ingress, which tells a slow page from a busy machine
    cpu_ms         the mean of the same of those after it
    kb             of HTML, uncompressed: styles, script and Vega are not in it, and neither are vectors

Ends with 1 where a page takes more than 300 ms (p50) or 200 KB. `--quick` takes 1,000 challenges of ten days.
`--home DIR` makes the home there, where it stays, and takes one that was made there within the last hour.

What the home was made of has just been written: the system has it in memory still. No Dagster runs, as none is asked.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from benchmarks.figures import Load, show
from benchmarks.pages_home import Made, Size, make, read_back
from loosh_pipeline.devnet.stored_rounds import MINERS, hotkey_of
from loosh_pipeline.supervisor import Service, free_ports, supervised

FULL = Size(challenges=100_000, per_day=1_000.0, rounds=48, vectors_days=1.0)
QUICK = Size(challenges=1_000, per_day=100.0, rounds=10, vectors_days=1.0)
MOST_MS, MOST_KB = 300.0, 200.0
REPEAT, WARM_UP_S = 20, 1.0
KB = 1000.0
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-encoding": "identity"}
WORD, NOBODYS_WORD = "vaccine", "xylographer"
"""In the first prompt that is asked, and in none."""
A_CHALLENGE = "rounds/archived-"
"""Stands in a page that lists one."""
STALE = timedelta(hours=1)
"""What is of the last day in a home gets fewer as it ages."""
MINER, OTHER = hotkey_of(7), hotkey_of(8)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one page."""

    first_ms: float
    p50_ms: float
    p95_ms: float
    first_cpu_ms: float
    cpu_ms: float
    kb: float

    @property
    def within(self) -> bool:
        return self.p50_ms <= MOST_MS and self.kb <= MOST_KB


def paths_of(made: Made) -> dict[str, str]:
    """Every page by name: where it is, from the root."""
    past = made.past
    newest, old, middle = past.challenges - 1, past.challenges // 3, past.challenges // 2
    deep = f"{past.at(middle).isoformat()},{past.id(middle)}"
    search = {"search_id": past.id(old), "search_words": WORD, "search_nothing_found": NOBODYS_WORD}
    return {
        "overview": "/",
        "challenges": "/challenges",
        "challenges_deep": f"/challenges?before={quote(deep)}",
        "challenges_submitted": "/challenges?state=submitted",
        "challenges_failed": "/challenges?state=failed",
        **{name: f"/challenges?q={quote(said)}" for name, said in search.items()},
        "challenges_failed_deep": f"/challenges?state=failed&before={quote(deep)}",
        "round_today": f"/rounds/{past.id(newest)}",
        "round_old": f"/rounds/{past.id(old)}",
        "miners": "/miners",
        "miner": f"/miners/{MINER}",
        "miner_beside_another": f"/miners/{MINER}?with={OTHER}",
        "receipt": f"/miners/{MINER}/receipt",
        "weights": "/weights",
        "weights_old_epoch": f"/weights?epoch={made.epochs // 3}",
        "miners_old_epoch": f"/miners?epoch={made.epochs // 3}",
        "miner_old_epoch": f"/miners/{MINER}?epoch={made.epochs // 3}",
    }


@dataclass(frozen=True, slots=True)
class Pages:
    """Where they are asked for, and the process that makes them."""

    http: httpx.Client
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor seconds of it so far, and of its children that have ended."""
        used = self.process.cpu_times()
        return float(used.user + used.system + used.children_user + used.children_system)


def asked(http: httpx.Client, path: str) -> tuple[float, str]:
    """Seconds until a page was there, and the page. Exits where it is none."""
    began_s = time.perf_counter()
    answer = http.get(path, headers=BROWSER)
    took_s = time.perf_counter() - began_s
    if answer.status_code != httpx.codes.OK:
        raise SystemExit(f"{path} was answered with {answer.status_code}: {answer.text[:500]}")
    return took_s, answer.text


def figures_of(pages: Pages, path: str) -> Figures:
    """A first answer, and the others."""
    before_s = pages.cpu_s()
    first_s, page = asked(pages.http, path)
    between_s = pages.cpu_s()
    others = sorted(asked(pages.http, path)[0] for _ in range(REPEAT))
    cpu_s = (pages.cpu_s() - between_s) / REPEAT
    slow_s = others[math.ceil(0.95 * REPEAT) - 1]
    return Figures(
        first_ms=in_ms(first_s),
        p50_ms=in_ms(statistics.median(others)),
        p95_ms=in_ms(slow_s),
        first_cpu_ms=in_ms(between_s - before_s),
        cpu_ms=in_ms(cpu_s),
        kb=round(len(page.encode()) / KB, 1),
    )


def in_ms(seconds: float) -> float:
    return round(1e3 * seconds, 1)


def search_finds_what_it_should(http: httpx.Client, paths: Mapping[str, str]) -> None:
    """Exits where a page that is measured as one of hits has none, or that of none has one."""
    for name, is_there in {"search_id": True, "search_words": True, "search_nothing_found": False}.items():
        if (A_CHALLENGE in asked(http, paths[name])[1]) != is_there:
            raise SystemExit(f"{paths[name]} lists {'no challenge' if is_there else 'challenges'}")


@contextmanager
def served(made: Made, logs: Path) -> Iterator[Pages]:
    """An ingress of a process of its own over a home; links lead to a Dagster that is not there."""
    port, dagster = free_ports(2)
    settings = made.settings.model_copy(update={"api_host": "127.0.0.1", "api_port": port})
    env = settings.environment() | {"DAGSTER_URL": f"http://127.0.0.1:{dagster}"}
    ingress = Service("ingress", [sys.executable, "-m", "ingress"], env, port)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120.0, trust_env=False)
    with supervised([ingress], logs, say) as running, client as http:
        time.sleep(WARM_UP_S)  # it looks at its stores when it starts
        yield Pages(http, psutil.Process(running.pids()[ingress.name]))


def measured(made: Made, logs: Path, load: Load) -> dict[str, Figures]:
    """Of every page."""
    found = {}
    with served(made, logs) as pages:
        paths = paths_of(made)
        for name, path in paths.items():
            found[name] = figures_of(pages, path)
            load.note()
            say(f"{name}: {found[name]}")
        search_finds_what_it_should(pages.http, paths)
    return found


def there_already(root: Path, size: Size, now: datetime) -> Made | None:
    """A home that was made there before; None where there is none. Exits where it is stale, or of another size."""
    made = read_back(root)
    if made is None:
        return None
    if made.past.challenges != size.challenges or made.past.per_day != size.per_day:
        raise SystemExit(f"{root} has {made.past.challenges:,} challenges: name another directory, or remove it")
    if now - made.past.until > STALE:
        raise SystemExit(f"{root} was made at {made.past.until:%Y-%m-%d %H:%M} UTC, over an hour ago: remove it")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.challenges:,} challenges")
    parser.add_argument("--home", type=Path, help="where the home is made and stays, or was made before")
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    chosen = parser.parse_args()
    load, size = Load(), QUICK if chosen.quick else FULL
    with tempfile.TemporaryDirectory(prefix="loosh-pages-") as folder:
        root, began_s = chosen.home or Path(folder), time.monotonic()
        now = datetime.now(UTC)
        made = there_already(root, size, now) or make(root, size, now)
        say(f"{made.past.challenges:,} challenges, {made.epochs} epochs: {time.monotonic() - began_s:.0f} s")
        pages = measured(made, Path(folder) / "logs", load)
    shown: Mapping[str, Any] = {name: asdict(each) for name, each in pages.items()}
    stored = {"stored_challenges": made.past.challenges, "of_miners": MINERS, "epochs": made.epochs}
    show({**shown, **stored, "quick": chosen.quick, "cores": os.cpu_count(), **load.figures()}, chosen.json)
    slow = [name for name, each in pages.items() if not each.within]
    if slow:
        say(f"over {MOST_MS:g} ms or {MOST_KB:g} KB: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
