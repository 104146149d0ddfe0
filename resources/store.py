"""Where everything is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import dagster as dg
import polars as pl

from loosh_pipeline.chain.alerts import Standing
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.domain import (
    AvailabilityTable,
    Challenge,
    ChallengeId,
    Hotkey,
    Metagraph,
    NetworkView,
    Proposal,
    Response,
)
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.asking_frames import availability_frame, availability_of
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.frames import (
    metagraph_frame,
    metagraph_of,
    network_view_frame,
    policy_acts_frame,
    proposal_frame,
    responses_of,
)
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.presenting import Presenting
from loosh_pipeline.store.runs import Runs
from loosh_pipeline.store.score_tables import CANARIES, IN_USE, ScoreTables
from loosh_pipeline.store.sessions import MinerSessions
from loosh_pipeline.store.spec_versions import SpecVersions
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import TableKey, Tables, WrittenTable, file_stem
from loosh_pipeline.store.weighing import newest_proposal, view_at
from loosh_pipeline.store.weight_frames import write_submission
from loosh_pipeline.table_metadata import written as written
from loosh_pipeline.table_metadata import written_of_one as written_of_one
from loosh_pipeline.weight_setting import Desk, lease_length, utc_now
from resources.once import Once

INLINE_CHARS = 1000
"""Markdown longer than this is not shown in place by the Dagster UI."""
CELL_CHARS = 12


@dataclass(frozen=True, eq=False)
class Partition:
    """One challenge as its assets need it: the row, what was asked, and where its tables lie."""

    row: InboxRow
    challenge: Challenge
    key: TableKey
    canary: bool = False


class Store:
    """The inbox, the outbox and the tables of one validator, opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def inbox(self) -> Inbox:
        return Inbox.open(self._settings.inbox_url)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.inbox.engine)

    @cached_property
    def canaries(self) -> Canaries:
        return Canaries(self.inbox.engine)

    @cached_property
    def runs(self) -> Runs:
        return Runs(self.inbox.engine)

    @cached_property
    def presenting(self) -> Presenting:
        return Presenting(self.inbox.engine)

    @cached_property
    def sessions(self) -> MinerSessions:
        return MinerSessions(self.inbox.engine)

    @cached_property
    def tables(self) -> Tables:
        return Tables(self._settings.tables_root)

    def close(self) -> None:
        """Close the database if it was opened."""
        if "inbox" in self.__dict__:
            self.inbox.engine.dispose()

    def partition(self, challenge_id: str) -> Partition:
        row = self.inbox.get(ChallengeId(challenge_id))
        key, canary = TableKey.of(row.id, row.received_at), row.id in self.canaries
        return Partition(row, row.challenge(), key, canary)

    def responses(self, partition: Partition) -> tuple[Response, ...]:
        return responses_of(self.tables.read("miner_responses", partition.key))

    @cached_property
    def score_tables(self) -> ScoreTables:
        return ScoreTables(self.tables)

    def scores_beside(self, partition: Partition) -> ScoreTables:
        """Where the scores of a challenge lie: those of a canary on a shelf of their own, which nothing pays by."""
        return ScoreTables(self.tables, CANARIES if partition.canary else IN_USE)

    def scores(self, partition: Partition, profile: ScoringProfile) -> RoundScores:
        """The stored scores of a round under a profile, in the version of the round's embedding model."""
        version = scorer_version(profile, self.score_tables.model_digest(partition.key))
        return self.scores_beside(partition).read(partition.key, version)

    def save_metagraph(self, metagraph: Metagraph) -> WrittenTable:
        self.spec_versions.note(metagraph.spec_version, metagraph.taken_at)
        name = f"{metagraph.taken_at:%Y%m%dT%H%M%S%f}-{metagraph.block}"
        return self.tables.write("metagraph", TableKey.of(name, metagraph.taken_at), metagraph_frame(metagraph))

    def newest_metagraph(self) -> Metagraph | None:
        frame = self.tables.latest("metagraph")
        return None if frame is None else metagraph_of(frame)

    def save_network_view(self, view: NetworkView) -> WrittenTable:
        name = f"{view.taken_at:%Y%m%dT%H%M%S%f}-{len(view.validators)}"
        return self.tables.write("network_view", TableKey.of(name, view.taken_at), network_view_frame(view))

    def newest_network_view(self) -> NetworkView | None:
        """What the Challenge API last said of hotkeys; None when it never said anything."""
        return view_at(self.tables, datetime.now(UTC))

    def save_proposal(self, proposal: Proposal, key: TableKey) -> WrittenTable:
        """Keep a proposal, its acts first: one that has shares has its acts."""
        self.tables.write("policy_acts", key, policy_acts_frame(proposal))
        return self.tables.write("weight_proposals", key, proposal_frame(proposal))

    def newest_proposal(self) -> Proposal | None:
        """What was last proposed to be set; None when nothing ever was."""
        return newest_proposal(self.tables)

    @cached_property
    def weight_ledger(self) -> Submissions:
        """What was submitted as weights (the asset `submissions` is what the Challenge API is told)."""
        return Submissions(self.inbox.engine)

    def submitted(self, netuid: int, hotkey: Hotkey) -> Sequence[SubmissionRow]:
        """What this hotkey submitted last, newest first, to the chain that was seen last."""
        seen = self.newest_metagraph()
        genesis_hash = None if seen is None else seen.genesis_hash
        return self.weight_ledger.recent(netuid, hotkey, genesis_hash=genesis_hash)

    @cached_property
    def spec_versions(self) -> SpecVersions:
        return SpecVersions(self.inbox.engine)

    def standing(self, own_hotkey: Hotkey | None) -> Standing:
        """How this validator stands on the chain, by what was seen last."""
        return stored_standing(self._settings, self.inbox.engine, utc_now(), own_hotkey)

    @contextmanager
    def desk(self, chain: Chain, holder: str) -> Iterator[Desk]:
        """The right to set weights and to record what became of them. Raises `NotTheWriter` while another has it."""
        with Leases(self.inbox.engine).held(LEASE, holder, lease_length(self._settings), utc_now) as lease:
            yield Desk(chain, self.weight_ledger, lease, self.save_submission)

    def save_submission(self, row: SubmissionRow) -> WrittenTable:
        return write_submission(self.tables, row)

    def save_availability(self, table: AvailabilityTable) -> WrittenTable:
        name = f"{table.taken_at:%Y%m%dT%H%M%S%f}-{len(table.rows)}"
        return self.tables.write("miner_availability", TableKey.of(name, table.taken_at), availability_frame(table))

    def newest_availability(self) -> AvailabilityTable | None:
        """What serving neurons last said; None when nobody was ever looked for."""
        frame = self.tables.latest("miner_availability")
        return None if frame is None else availability_of(frame)

    def save_picture(self, challenge_id: ChallengeId, suffix: str, content: bytes) -> Path:
        """Keep a picture where the ingress serves it, whole or not at all."""
        root = self._settings.heatmaps_root
        root.mkdir(parents=True, exist_ok=True)
        path = root / f"{file_stem(challenge_id)}.{suffix}"
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
        return path


def run_key(now: datetime, run_id: str) -> TableKey:
    """Where a run keeps a table of its own: names sort by time, and two runs never share one."""
    return TableKey.of(f"{now:%Y%m%dT%H%M%S%f}-{run_id[:8]}", now)


def preview(frame: pl.DataFrame, columns: list[str], cell_chars: int = CELL_CHARS) -> dg.MetadataValue:
    """The first rows of a table, as many as the UI shows in place; a longer text hides behind a link."""
    shown = frame.select(columns)
    lines = [_line(shown.columns), "|" + "-|" * shown.width]
    room = INLINE_CHARS - sum(map(len, lines)) - 40
    for number, row in enumerate(shown.iter_rows()):
        line = _line([_cell(value, cell_chars) for value in row])
        room -= len(line) + 1
        if room < 0:
            lines.append(f"\n{shown.height - number} more rows are in the table.")
            break
        lines.append(line)
    return dg.MetadataValue.md("\n".join(lines))


def _line(cells: list[str]) -> str:
    return f"|{'|'.join(cells)}|"


def _cell(value: object, most_chars: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else "0"
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= most_chars else f"{text[:most_chars]}…"


process_store = Once(Store)
"""The store of this process: a run, or a sensor's tick, opens nothing anew."""


@dg.resource(description="Inbox, outbox, asset tables and pictures, at the places that the settings name.")
def store_resource(_context: dg.InitResourceContext) -> Store:
    return process_store(get_settings())
