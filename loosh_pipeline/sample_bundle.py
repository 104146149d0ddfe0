"""`python -m loosh_pipeline.sample_bundle FILE`: a bundle of a validator that really ran, on a subnet of this machine.

A devnet and a validator are started, challenges are pushed, weights are set and sealed, and what decided them is
exported once the chain has drawn. Everything else is thrown away.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from rich.console import Console

from loosh_pipeline.audit.content import Seal
from loosh_pipeline.audit.desk import Desk, sample_of
from loosh_pipeline.audit.epochs import LATEST
from loosh_pipeline.audit.exporting import Wanted, export
from loosh_pipeline.audit.file import Level
from loosh_pipeline.audit.report import told
from loosh_pipeline.audit.sealing import SAMPLE_ROUNDS, Sample
from loosh_pipeline.audit.verify import ChainSaid, verify
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.demo import DemoPlan, demonstrate
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.local import devnet_process, local_settings
from loosh_pipeline.services import services
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import supervised

MINERS = 5
CHALLENGES = 12
WITHIN_S = 180.0
T = TypeVar("T")
ONCE_BLOCKS = 100_000
"""Weights are set once, when all rounds are there."""


def make_bundle(path: Path, challenges: int, out: Console) -> str:
    """Run it all and write the bundle; the hash of the block that drew. Raises LooshError when a part fails."""
    say = functools.partial(out.print, highlight=False)
    plan = DemoPlan(challenges, MINERS, answers=None, once=True)
    with TemporaryDirectory(prefix="loosh-sample-") as folder:
        home = Path(folder)
        with devnet_process(home, say, miners=MINERS) as (info, _):
            settings = local_settings(info, home, weights_min_rounds=challenges, weights_interval_blocks=ONCE_BLOCKS)
            with supervised(services(settings), home / "logs", say) as supervisor:
                _await("a look for the miners", lambda: Tables(settings.tables_root).days("miner_availability"))
                demonstrate(plan, info, settings, supervisor, datetime.now(UTC), out)
                return _export(path, settings)


def _export(path: Path, settings: Settings) -> str:
    desk = Desk(settings)
    row, kept = desk.epoch(LATEST)
    signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    sample = _drawn(settings, kept.signed.seal)
    export(path, desk.tables, desk.inbox, row, kept, signer, Wanted(Level.SAMPLE, sample))
    return sample.block_hash


def _drawn(settings: Settings, seal: Seal) -> Sample:
    chain = ProcessChain(settings)
    return _await(f"a final block {seal.sample_block}", lambda: sample_of(chain, seal, SAMPLE_ROUNDS))


def _await(what: str, found: Callable[[], T | None]) -> T:
    """What is there in the end. Raises DevnetError where it never is."""
    deadline_s = time.monotonic() + WITHIN_S
    while not (value := found()):
        if time.monotonic() > deadline_s:
            raise DevnetError(f"{what}: not within {WITHIN_S:g} s")
        time.sleep(1.0)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a bundle and verify it; ends as verifying does."""
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.sample_bundle", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--challenges", type=int, default=CHALLENGES, help="rounds that the bundle shows")
    given = parser.parse_args(arguments)
    drew = make_bundle(given.file, given.challenges, Console(stderr=True))
    report = verify(given.file, chain=ChainSaid(drew))
    print(f"{given.file}: {given.file.stat().st_size:,} bytes\n{told(report)}")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
