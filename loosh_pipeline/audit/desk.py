"""What commands about audits work with: this validator's submissions and seals, and what a chain says of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from loosh_pipeline.audit.content import Seal
from loosh_pipeline.audit.epochs import LATEST
from loosh_pipeline.audit.file import Level
from loosh_pipeline.audit.sealing import Sample
from loosh_pipeline.audit.verify import ChainSaid
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.records import FAILED, NEVER_IN, SubmissionRow
from loosh_pipeline.chain.wallet import hotkey_file, hotkey_of
from loosh_pipeline.domain import Block, Hotkey
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.seals import KeptSeal, seal_of_submission
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables

LOOKED_THROUGH = 1000
"""Submissions among which the newest is looked for that the chain took and that is sealed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A submission, and its seal where it has one."""

    row: SubmissionRow
    kept: KeptSeal | None


class Desk:
    """The stores of one validator. Raises ConfigError where nobody knows whose weights are meant."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def tables(self) -> Tables:
        return Tables(self._settings.tables_root)

    @cached_property
    def inbox(self) -> Inbox:
        return Inbox.open(self._settings.inbox_url)

    @cached_property
    def own(self) -> Hotkey:
        wallet = self._settings.wallet_path, self._settings.wallet_name, self._settings.hotkey_name
        if (found := hotkey_of(*wallet)) is None:
            raise ConfigError(f"whose weights are meant? there is no hotkey in {hotkey_file(*wallet)}")
        return found

    def submitted(self, most: int) -> list[Sealed]:
        """The newest submissions that went to the chain, newest first."""
        rows = self._rows(most)
        return [Sealed(row, seal_of_submission(self.tables, row)) for row in rows]

    def epoch(self, number: str) -> tuple[SubmissionRow, KeptSeal]:
        """A submission with its seal, by number or `latest`. Raises StoreError where there is no such, or no seal."""
        if number == LATEST:
            for row in self._rows(LOOKED_THROUGH):
                if row.state not in FAILED and (kept := seal_of_submission(self.tables, row)) is not None:
                    return row, kept
            raise StoreError("no weights that were set here have a seal yet; `loosh audit list` shows what there is")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise ConfigError(f"{number!r} is no epoch; give a number of `loosh audit list`, or {LATEST}")
        found = Submissions(self.inbox.engine).get(int(number))
        if found is None:
            raise StoreError(f"there is no submission {number}; `loosh audit list` shows what there is")
        kept = seal_of_submission(self.tables, found)
        if kept is None:
            raise StoreError(f"submission {number} has no seal; the asset audit_seals says why")
        return found, kept

    def _rows(self, most: int) -> Sequence[SubmissionRow]:
        rows = Submissions(self.inbox.engine).recent(self._settings.netuid, self.own, most)
        return [row for row in rows if row.state not in NEVER_IN]


def sample_of(chain: Chain, seal: Seal, rounds: int) -> Sample | None:
    """So many rounds that a block draws, or all of fewer; None while that block is not final."""
    said = chain.block_hash(Block(seal.sample_block), seal.epoch.genesis_hash)
    return None if said is None else Sample(seal.sample_block, said, min(rounds, seal.parts["rounds"].leaves))


def chain_said(chain: Chain, seal: Seal) -> tuple[ChainSaid, str]:
    """What the chain says of an epoch, and why its row of weights cannot be compared; empty where it can."""
    epoch = seal.epoch
    block_hash = chain.block_hash(Block(seal.sample_block), epoch.genesis_hash)
    observed = chain.observe(epoch.netuid, epoch.validator, epoch.genesis_hash)
    if observed.commits:
        return ChainSaid(block_hash), "the chain holds a commit of this validator that is not revealed yet"
    if epoch.included_block is None or observed.last_update > epoch.included_block:
        return ChainSaid(block_hash), f"the chain has later weights of this validator, of block {observed.last_update}"
    return ChainSaid(block_hash, observed), ""


def level_of(rounds: str) -> tuple[Level, int]:
    """What `all`, `none` or a number ask for. Raises ConfigError for anything else."""
    if rounds in ("all", "none"):
        return (Level.FULL if rounds == "all" else Level.ROWS), 0
    if not (rounds.isascii() and rounds.isdigit() and int(rounds[:9]) > 0):
        raise ConfigError(f"--rounds is {rounds!r}; give all, none, or how many are drawn")
    return Level.SAMPLE, int(rounds[:9])
