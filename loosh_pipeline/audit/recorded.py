"""What is on record of one epoch, and the stored rows that its weights were made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time

import polars as pl
from sqlalchemy import Engine

from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables, snapshot_of
from loosh_pipeline.audit.stored_rows import read_rows
from loosh_pipeline.audit.weighing_again import Given, Weighed
from loosh_pipeline.domain import Hotkey, Metagraph, Proposal
from loosh_pipeline.emissions import Terms
from loosh_pipeline.errors import StoreError
from loosh_pipeline.paid import settles
from loosh_pipeline.policy.basis import Basis
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.rescoring.wanted import profile_with
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.frames import proposal_of
from loosh_pipeline.store.looks import look_rows
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables, WindowRows
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, read_inputs, read_terms


@dataclass(frozen=True, eq=False)
class RecordedEpoch:
    """One setting of weights with everything that it hung on. `counted`: the table of `counted_rounds`."""

    found: EpochTables
    inputs: Inputs
    terms: Terms
    proposal: Proposal
    subnet: Metagraph
    counted: pl.DataFrame

    @property
    def number(self) -> int:
        return self.found.number

    @property
    def profile(self) -> ScoringProfile:
        """Under which it was paid."""
        return profile_with(self.terms.profile, dict(self.terms.parameters))

    @property
    def basis(self) -> Basis:
        """What the weights rest on."""
        return Basis(self.proposal.basis)

    @property
    def asked(self) -> dict[Hotkey, int]:
        """In how many of the rounds that counted each miner was."""
        return {each.hotkey: each.asked for each in self.inputs.earned.emissions}

    @property
    def weights(self) -> dict[Hotkey, float]:
        """As they were submitted."""
        plan = self.found.row.plan
        return {plan.hotkeys[uid]: weight for uid, weight in plan.weights.items()}


def recorded_epoch(inbox: Engine, tables: Tables, which: str = LATEST) -> RecordedEpoch:
    """Raises UnknownEpoch, and StoreError for one of which not everything is kept."""
    found = epoch_tables(inbox, tables, which)
    if found.proposal is None or found.emissions is None:
        raise StoreError(f"of epoch {found.number} no proposal or no emissions are kept any more")
    try:
        return RecordedEpoch(
            found=found,
            inputs=read_inputs(tables, found.proposal),
            terms=read_terms(tables, found.emissions),
            proposal=proposal_of(
                tables.read("weight_proposals", found.proposal), tables.read("policy_acts", found.proposal)
            ),
            subnet=_snapshot(tables, found),
            counted=tables.read(COUNTED_ROUNDS, found.emissions),
        )
    except StoreError as error:
        raise StoreError(
            f"what the weights of epoch {found.number} rest on is not on record ({error}); it is since this release"
        ) from error


def _snapshot(tables: Tables, found: EpochTables) -> Metagraph:
    """In which the plan looked up uids. Raises StoreError when it is not kept."""
    if (subnet := snapshot_of(tables, found.row)) is None:
        raise StoreError(f"no snapshot of the subnet at block {found.row.plan.block} is kept")
    return subnet


def given_of(tables: Tables, epoch: RecordedEpoch, since: datetime | None = None) -> Given:
    """The rows of the rounds that counted, and the looks; both from `since` on, where that is earlier.

    Of rounds from before the epoch's lookback, the version that counts for pay today.
    """
    terms, profile = epoch.terms, epoch.profile
    start = min(terms.since, since or terms.since)
    scores = read_rows(tables, SCORES, SETTLED_FROM, start, terms.made_at)
    chosen = epoch.counted.select("challenge_id", "scorer_version")
    if start < terms.since:
        earlier = scores.filter(pl.col("received_at").is_between(start, terms.since, closed="left"))
        chosen = pl.concat([chosen, _counting(tables, earlier, profile)])
    pairs = pl.DataFrame(schema=PAIRED_FROM)
    if settles(profile):
        pairs = read_rows(tables, PAIRS, PAIRED_FROM, start, terms.made_at)
    by = ["challenge_id", "scorer_version"]
    rows = WindowRows(scores.join(chosen, on=by, how="semi"), pairs.join(chosen, on=by, how="semi"))
    looks = look_rows(tables, start.date(), terms.made_at.date(), keeps=False)
    return Given(rows, looks, profile, terms, epoch.inputs, epoch.subnet)


def stored_from(tables: Tables, since: datetime) -> datetime | None:
    """From when on scores are stored, where that is later than `since`: nobody can say what was before."""
    days = sorted(tables.days(SCORES))
    if not days or days[0] < since.date():
        return None
    at = datetime.combine(days[0], time(), UTC)
    first = read_rows(tables, SCORES, SETTLED_FROM, at, at)["received_at"].min()
    return first if isinstance(first, datetime) and first > since else None


def _counting(tables: Tables, scores: pl.DataFrame, profile: ScoringProfile) -> pl.DataFrame:
    """Which version of each round counts for pay."""
    known = scores.select("challenge_id", "scorer_version").unique()
    versions = ScoreTables(tables).counting(known["scorer_version"].unique().to_list(), profile)
    schema = {"scorer_version": pl.String, "place": pl.Int64}
    places = pl.DataFrame({"scorer_version": versions, "place": range(len(versions))}, schema=schema)
    ordered = known.join(places, on="scorer_version").sort("place")
    return ordered.unique("challenge_id", keep="first").select("challenge_id", "scorer_version")


def differences(epoch: RecordedEpoch, found: Weighed) -> list[str]:
    """In what weights that were worked out again are not those of the epoch, bit for bit; nothing where they are."""
    said = []
    if (rounds := found.earned.rounds) != epoch.terms.rounds:
        said.append(f"{rounds} rounds are stored of {epoch.terms.rounds} that were paid")
    was, now = epoch.inputs.earned.by_hotkey(), found.earned.by_hotkey()
    if other := sorted(h for h in was.keys() | now.keys() if was.get(h) != now.get(h)):
        said.append(f"the emissions of {len(other)} miners differ, such as {other[0]}")
    if found.proposal.shares != epoch.proposal.shares:
        said.append("the proposal's shares differ")
    if found.weights != epoch.weights:
        said.append("the weights differ" + (f": {found.refused}" if found.refused else ""))
    return said
