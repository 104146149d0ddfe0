"""Which stored rows are of a scorer that somebody names, and reading them for a window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import polars as pl

from loosh_pipeline.audit.weighing_again import evidenced
from loosh_pipeline.domain import ScorerVersion
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.paid import settles
from loosh_pipeline.rescoring.wanted import NOT_OF_A_ROUND, profile_with, typed_parameters
from loosh_pipeline.scoring.profile import CODE_VERSION, parameters_of
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import IN_USE, TRIED, ScoreTables, Shelf, WindowRows
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.window_cache import WindowCache

MEASURING: Mapping[str, frozenset[str]] = {
    "robust": frozenset({"context_rounds", "young_stop_weight"}),
    "network": frozenset(each.name for each in fields(PROFILES["network"])) - NOT_OF_A_ROUND["network"],
}
"""Parameters that act on what is measured of texts and vectors, and so on rows as they are stored; all others act when
rows are judged and settled, or on nothing that is paid. A test tries every parameter there is."""

EVIDENCE = "evidence_full_words"


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scorer that somebody named: what it judges by, and which versions have its rows, the one that counts first."""

    said: str
    profile: ScoringProfile
    versions: tuple[tuple[Shelf, ScorerVersion], ...]
    same_evidence: bool = True
    """Whether what likeness proves was counted under all of these as the profile counts it."""

    def rescored_by(self, since: datetime, until: datetime) -> str:
        """The command that makes rows of it for the challenges of these days."""
        given = [
            f"--set {name}={value:g}"
            for name, value in changed_parameters(self.profile).items()
            if name in MEASURING[self.profile.name]
        ]
        days = f"--since {since.date()} --until {until.date()}"
        return " ".join(["loosh rescore", days, f"--profile {self.profile.name}", *given])


def changed_parameters(profile: ScoringProfile) -> dict[str, float]:
    """Those that are not as they are today by default."""
    todays = parameters_of(profile_of(profile.name))
    return {name: value for name, value in parameters_of(profile).items() if value != todays[name]}


def measured_alike(one: ScoringProfile, other: ScoringProfile) -> bool:
    """Whether rows of one say what is measured under the other."""
    return one.name == other.name and _measuring(one.name, parameters_of(one)) == _measuring(
        other.name, parameters_of(other)
    )


def _measuring(profile: str, parameters: Mapping[str, float]) -> dict[str, float | None]:
    return {name: parameters.get(name) for name in MEASURING[profile]}


def scorer_named(tables: Tables, said: str) -> Scorer:
    """`PROFILE`, `PROFILE:name=value,…` or a version's hash. Raises ConfigError that says what there is."""
    described = [(shelf, each) for shelf in (IN_USE, TRIED) for each in ScoreTables(tables, shelf).scorers()]
    of_version = [(shelf, each) for shelf, each in described if each["scorer_version"] == said]
    if of_version:
        shelf, each = of_version[0]
        return Scorer(said, _profile_of(each), ((shelf, ScorerVersion(said)),))
    name, _, given = said.partition(":")
    if name not in PROFILES:
        stored = ", ".join(f"{each['scorer_version']} ({each['profile']})" for _, each in described) or "none"
        raise ConfigError(
            f"{said!r} is no scorer: give a profile ({', '.join(PROFILES)}), one with parameters like "
            f"robust:power=5, or a version; stored versions: {stored}"
        )
    try:
        profile = profile_with(name, typed_parameters([each for each in given.split(",") if each]))
    except (ValueError, OverflowError) as error:
        raise ConfigError(str(error)) from error
    return scorer_of(profile, said, described)


def scorer_of(profile: ScoringProfile, said: str, described: Sequence[tuple[Shelf, Mapping[str, Any]]]) -> Scorer:
    """The versions whose rows say what a profile measures: of today's code before others, in use before tried."""
    wanted = _measuring(profile.name, parameters_of(profile))
    alike = [
        (shelf, each)
        for shelf, each in described
        if each["profile"] == profile.name and _measuring(profile.name, json.loads(each["parameters"])) == wanted
    ]
    alike.sort(key=lambda found: found[1]["scorer_version"])
    alike.sort(key=lambda found: found[1]["first_used_at"], reverse=True)
    alike.sort(key=lambda found: (found[1]["code_version"] != CODE_VERSION, found[0] is not IN_USE))
    versions = tuple((shelf, ScorerVersion(each["scorer_version"])) for shelf, each in alike)
    counted = parameters_of(profile).get(EVIDENCE)
    same = all(json.loads(each["parameters"]).get(EVIDENCE) == counted for _, each in alike)
    return Scorer(said, profile, versions, same)


def stored_scorer(tables: Tables, profile: ScoringProfile, said: str) -> Scorer:
    """The same for a profile that is known."""
    return scorer_of(
        profile, said, [(shelf, each) for shelf in (IN_USE, TRIED) for each in ScoreTables(tables, shelf).scorers()]
    )


def _profile_of(described: Mapping[str, Any]) -> ScoringProfile:
    try:
        return profile_with(described["profile"], json.loads(described["parameters"]))
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"version {described['scorer_version']} is of another release: {error}") from error


def rows_of(tables: Tables, scorer: Scorer, since: datetime, until: datetime) -> WindowRows:
    """The rounds of a time that have rows of a scorer, one version of each."""
    shelves = list(dict.fromkeys(shelf for shelf, _ in scorer.versions))
    found = [_of_shelf(tables, shelf, scorer, since, until) for shelf in shelves]
    if not found:
        return WindowRows(pl.DataFrame(schema=SETTLED_FROM), pl.DataFrame(schema=PAIRED_FROM))
    # What is in use has a round's version rather than what was tried, but for code of another version.
    scores = pl.concat([scores for scores, _ in found])
    places = pl.DataFrame(
        {"scorer_version": [version for _, version in scorer.versions], "place": range(len(scorer.versions))},
        schema={"scorer_version": pl.String, "place": pl.Int64},
    )
    known = scores.select("challenge_id", "scorer_version", "shelf").unique().join(places, on="scorer_version")
    chosen = known.sort("place", "shelf").unique("challenge_id", keep="first").select(_ROUND)
    pairs = pl.concat([pairs for _, pairs in found])
    kept = [each.join(chosen, on=_ROUND, how="semi").drop("shelf") for each in (scores, pairs)]
    rows = WindowRows(*kept)
    return rows if scorer.same_evidence else evidenced(rows, scorer.profile)


_ROUND = ["challenge_id", "scorer_version", "shelf"]


def _of_shelf(
    tables: Tables, shelf: Shelf, scorer: Scorer, since: datetime, until: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores and pairs, with the shelf that they lie on."""
    versions = [version for of, version in scorer.versions if of is shelf]
    scores = read_rows(tables, shelf.scores, SETTLED_FROM, since, until)
    scores = scores.filter(pl.col("scorer_version").is_in(versions), pl.col("received_at").is_between(since, until))
    pairs = pl.DataFrame(schema=PAIRED_FROM)
    if settles(scorer.profile):
        pairs = read_rows(tables, shelf.pairs, PAIRED_FROM, since, until)
        pairs = pairs.join(scores.select(_ROUND[:2]).unique(), on=_ROUND[:2], how="semi")
    named = pl.lit(shelf.scores, pl.String).alias("shelf")
    return scores.with_columns(named), pairs.with_columns(named)


def read_rows(tables: Tables, asset: str, schema: Mapping[str, Any], since: datetime, until: datetime) -> pl.DataFrame:
    """All rows of the days of a time. Copies of them that are there are read, and none is left."""
    return WindowCache(tables, asset, schema, keeps=False).rows(since.date(), until.date())
