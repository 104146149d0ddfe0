"""How long weights take, from stored scores to the chain's row: `python -m benchmarks.weights [--quick] [--json]`.

A validator's data directory is filled with a day of rounds, 7 of 256 miners in each, scored and written by the product
itself into the files that it writes, and with the looks for miners of that day. A devnet chain of 256 neurons is served
by another process, with a block every quarter of a second, and spoken to by the real SDK. Then the assets are
materialized as `set_weights` does, and what counts is the time of their steps:

    plan_s       `emissions`, `weight_proposal` and their checks, but for what they wait for the chain, when the last
                 planning was 72 minutes ago: as many rounds have come since, and their files are new
    plan_cpu_s   processor time of that run, Dagster's own part included: the same on a machine that others use
    plan_cold_s  as plan_s, without the copies that earlier plannings left
    submit_s     what that planning waited for the chain (its snapshot), `weights` and `weight_receipts`: another
                 snapshot, submission, inclusion, and the row read back

Medians of the repetitions; the last line with `--json` is one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from bittensor_core import Keypair

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec, serve_chain
from loosh_pipeline.domain import Availability, AvailabilityTable, ChallengeId, Hotkey, Outcome, Uid
from loosh_pipeline.orchestrator import WEIGHTS_JOB
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import unit_rows
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.asking_frames import availability_frame
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE

MINERS = 256
ASKED = 7
ROUNDS = 14_286
"""Of 7 rows each: 100,002 rows."""
QUICK_ROUNDS = 300
SPAN = timedelta(hours=23, minutes=30)
"""Over which the rounds came: within a lookback of 24 hours until the last measurement."""
NEW = timedelta(minutes=72) / timedelta(hours=24)
"""Part of a day's rounds that came since the last planning, with a tempo of 360 blocks."""
LOOK_EVERY = timedelta(minutes=2)
DIM, VOCABULARY, OWN_WORDS = 384, 400, 0.6
FAILURES = 0.03
PROFILE = RobustProfile()
MODEL = "ab" * 32
PLANNING, SUBMITTING = ("emissions", "weight_proposal"), ("weights", "weight_receipts")
QUESTION = np.eye(DIM)[0]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def miner_hotkeys() -> list[Hotkey]:
    return [Hotkey(Keypair.create_from_uri(f"//miner//{i}").ss58_address) for i in range(MINERS)]


def drawn_round(number: int, hotkeys: Sequence[Hotkey]) -> Round:
    """Miners drawn evenly, who mean the same but for what they err by, in words of which most are their own."""
    rng = np.random.default_rng(number)
    meant = unit_rows(rng.normal(size=(1, DIM)))[0]
    drawn = rng.choice(len(hotkeys), ASKED, replace=False)
    name = ChallengeId(f"{rng.bytes(16).hex()}")
    return Round(name, QUESTION, tuple(_response(rng, hotkeys[miner], int(miner), meant) for miner in drawn))


def _response(rng: np.random.Generator, hotkey: Hotkey, miner: int, meant: Any) -> RoundResponse:
    if rng.random() < FAILURES:
        none = np.zeros((0, DIM))
        return RoundResponse(hotkey, Outcome.TIMEOUT, "", None, none, none, uid=miner)
    count = int(rng.integers(50, 200))
    spoken = rng.integers(VOCABULARY, size=count)
    words = (f"own{miner}x{word}" if rng.random() < OWN_WORDS else f"word{word % 60}" for word in spoken)
    noise = 0.01 + 0.06 * miner / MINERS
    rows = unit_rows(QUESTION + meant + rng.normal(scale=noise, size=(4, DIM)))
    elapsed_ms = float(rng.lognormal(8.0, 0.4))
    return RoundResponse(hotkey, Outcome.ANSWERED, " ".join(words), elapsed_ms, rows[:1], rows[1:], uid=miner)


def write_rounds(root: str, hotkeys: Sequence[Hotkey], start: datetime, apart: timedelta, numbers: range) -> None:
    """Score these rounds and keep them, each as if a minute after its challenge came."""
    os.fsync = lambda _: None  # type: ignore[assignment]  # nothing here has to outlive a power cut
    tables = Tables(root)
    for number in numbers:
        at = start + number * apart
        result = score_round(drawn_round(number, hotkeys), ScoringContext.empty(DIM), PROFILE, MODEL)
        key = TableKey.of(result.challenge_id, at)
        ScoreTables(tables).write(key, result, PROFILE, MODEL, at)
        for asset in (SCORES, PAIRS):
            path = tables.path(asset, TableKey(key.day, key.name, result.scorer_version))
            os.utime(path, times=(at.timestamp() + 60, at.timestamp() + 60))


def write_looks(root: str, hotkeys: Sequence[Hotkey], start: datetime) -> None:
    """Looks at all miners every two minutes, each of which misses a few."""
    tables, rng = Tables(root), np.random.default_rng(0)
    for number in range(SPAN // LOOK_EVERY):
        at, there = start + number * LOOK_EVERY, rng.random(MINERS) < 0.99
        rows = [
            Availability(hotkey, Uid(uid), address(uid), 9000, bool(there[uid - 1]), "", 5.0)
            for uid, hotkey in enumerate(hotkeys, start=1)
        ]
        key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-{MINERS}", at)
        tables.write("miner_availability", key, availability_frame(AvailabilityTable(at, tuple(rows))))


def generate(root: str, hotkeys: Sequence[Hotkey], rounds: int) -> None:
    """A day of rounds and looks, written by as many processes as there are processors."""
    start, apart = datetime.now(UTC) - SPAN, SPAN / rounds
    parts = [range(first, min(first + 250, rounds)) for first in range(0, rounds, 250)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        looks = pool.submit(write_looks, root, hotkeys, start)
        for number, _ in enumerate(pool.map(partial(write_rounds, root, hotkeys, start, apart), parts), start=1):
            tell(f"{parts[number - 1].stop} of {rounds} rounds are written")
        looks.result()


def address(uid: int) -> str:
    """A public address of its own for each; nobody is ever asked there."""
    return f"11.0.{uid // 250}.{uid % 250 + 1}"


def _serve(validator: str, owner: str, connection: Connection) -> None:
    """A devnet chain on a socket, until the other end closes."""
    miners = miner_hotkeys()[:-1]  # the last one is no longer registered: its scores are there, its uid is not
    coldkeys = [Keypair.create_from_uri(f"//cold//{i}").ss58_address for i in range(len(miners))]
    neurons = [
        NeuronSpec(validator, owner, stake_tao=10_000.0, permit=True),
        *(
            NeuronSpec(hotkey, coldkey, ip=address(uid), port=9000)
            for uid, (hotkey, coldkey) in enumerate(zip(miners, coldkeys, strict=True), start=1)
        ),
    ]

    async def serve() -> None:
        async with serve_chain(DevnetChain(ChainConfig(rate_limit_blocks=1), neurons)) as port:
            connection.send(port)
            await asyncio.to_thread(connection.poll, None)

    asyncio.run(serve())


@contextmanager
def served_chain(validator: str, owner: str) -> Iterator[str]:
    """The devnet in a process of its own; yields its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(validator, owner, theirs))
    process.start()
    try:
        if not ours.poll(60):
            raise SystemExit("the devnet did not start within a minute")
        yield f"ws://127.0.0.1:{ours.recv()}"
    finally:
        ours.send(None)
        process.join(10)


@contextmanager
def validator_home() -> Iterator[Path]:
    """A data directory of its own, with a wallet on a devnet that is served meanwhile, as the settings say."""
    with tempfile.TemporaryDirectory(prefix="loosh-weights-") as directory:
        home = Path(directory)
        wallet = create_wallet(home / "wallets", "validator", "validator")
        with served_chain(wallet.hotkey, wallet.coldkey) as endpoint:
            os.environ.update(
                LOOSH_HOME=str(home),
                NETUID="78",
                SUBTENSOR_ADDRESS=endpoint,
                WALLET_PATH=str(home / "wallets"),
                WALLET_NAME="validator",
                HOTKEY_NAME="validator",
                PAY_PROFILE=PROFILE.name,
            )
            get_settings.cache_clear()
            yield home


class TimedChain:
    """The chain, with the seconds that every call of it took."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.waited_s = 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._chain, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started_s = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.waited_s += time.perf_counter() - started_s

        return timed


@dataclass
class Validator:
    """Materializes assets of one data directory, and says how long their steps took."""

    instance: dg.DagsterInstance
    chain: TimedChain
    steps_s: dict[str, list[float]] = field(default_factory=dict)

    def run(self, job: str, *assets: str) -> tuple[float, float]:
        """Seconds that the steps took by themselves, and that they waited for the chain.

        Exits with the reason when one failed or weights were not submitted.
        """
        from loosh_pipeline.definitions import defs  # reads the settings

        wired = dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=defs.jobs,
            resources={**(defs.resources or {}), "chain": self.chain},
        )
        self.chain.waited_s = 0.0
        result = wired.resolve_job_def(job).execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(name) for name in assets], raise_on_error=True
        )
        for event in result.get_asset_materialization_events():
            if (reason := event.materialization.metadata.get("skipped")) is not None:
                raise SystemExit(f"{event.step_key} was skipped: {reason.value}")
        total_s = 0.0
        for event in result.all_events:
            if event.is_step_success:
                seconds = event.step_success_data.duration_ms / 1000
                self.steps_s.setdefault(str(event.step_key), []).append(seconds)
                total_s += seconds
        return total_s - self.chain.waited_s, self.chain.waited_s


def rewrite_newest(tables: Tables, count: int) -> None:
    """Write the files of the newest rounds again, as if these had just been scored."""
    for asset in (SCORES, PAIRS):
        files = [
            (each.stat().st_mtime, each) for each in Path(tables.path(asset, _ANY)).parent.parent.glob("*/*.parquet")
        ]
        for _, path in sorted(files)[-count:]:
            fresh = path.with_suffix(".tmp")
            shutil.copyfile(path, fresh)
            fresh.replace(path)


_ANY = TableKey(datetime(2026, 1, 1, tzinfo=UTC).date(), "any")


def measure(rounds: int, repeat: int) -> dict[str, Any]:
    """Medians over the repetitions, and what was planned from."""
    hotkeys, load_before = miner_hotkeys(), os.getloadavg()
    taken: dict[str, list[float]] = {"plan_s": [], "submit_s": [], "plan_cpu_s": [], "plan_cold_s": []}
    with validator_home(), dg.DagsterInstance.ephemeral() as instance:
        settings, started_s = get_settings(), time.perf_counter()
        generate(settings.tables_root, hotkeys, rounds)
        tell(f"written in {time.perf_counter() - started_s:.0f} s")
        tables, validator = Tables(settings.tables_root), Validator(instance, TimedChain(ProcessChain(settings)))
        validator.run("refresh_metagraph", "metagraph")
        load_measured = os.getloadavg()
        for _ in range(repeat):
            shutil.rmtree(Path(settings.tables_root) / CACHE, ignore_errors=True)
            taken["plan_cold_s"].append(validator.run(WEIGHTS_JOB, *PLANNING)[0])
            rewrite_newest(tables, round(rounds * NEW))
            started_cpu_s = time.process_time()
            planned_s, asked_s = validator.run(WEIGHTS_JOB, *PLANNING)
            taken["plan_cpu_s"].append(time.process_time() - started_cpu_s)
            taken["plan_s"].append(planned_s)
            taken["submit_s"].append(asked_s + sum(validator.run(WEIGHTS_JOB, *SUBMITTING)))
            tell(str({name: round(values[-1], 3) for name, values in taken.items()}))
        _check(tables, rounds)
    return {
        **{name: round(statistics.median(values), 3) for name, values in taken.items()},
        "rounds": rounds,
        "rows": rounds * ASKED,
        "miners": MINERS,
        "repeat": repeat,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "steps_s": {name: round(statistics.median(values), 3) for name, values in validator.steps_s.items()},
        "cpus": os.cpu_count(),
        "load": {"before": load_before, "written": load_measured, "after": os.getloadavg()},
    }


def _check(tables: Tables, rounds: int) -> None:
    """All rounds were paid and the chain holds what was planned; else the figures are of something else."""
    settled, receipts = tables.latest("settled_scores"), tables.latest("weight_receipts")
    paid = 0 if settled is None else settled["challenge_id"].n_unique()
    state = None if receipts is None else receipts["state"][0]
    if paid != rounds or state != "observed":
        raise SystemExit(f"{paid} of {rounds} rounds were settled and the weights are {state}; expected all, observed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weights", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of 7 answers within the lookback")
    parser.add_argument("--repeat", type=int, default=5, help="plannings and submissions that a median is taken of")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, once")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    figures = measure(*((QUICK_ROUNDS, 1) if chosen.quick else (chosen.rounds, chosen.repeat)))
    if chosen.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
