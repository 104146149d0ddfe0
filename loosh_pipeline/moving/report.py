"""What an import says: for people, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rich.markup import escape
from rich.table import Table

from loosh_pipeline.moving.importing import NOT_KEPT, SCORE_CACHE, Report
from loosh_pipeline.policy.handover import often_enough
from loosh_pipeline.store.imported import PAY

FOR_THE_RECORD = "The rows are kept for the record."
SCORES_LEFT = "the Challenge API tells them anew, see network_view"


def facts(report: Report, meaning: str) -> dict[str, Any]:
    """All of it, for `--json`."""
    return {
        "database": report.database,
        "sha256": report.sha256,
        "size_bytes": report.size_bytes,
        "live": report.live,
        "dry_run": report.dry_run,
        "evaluations": report.evaluations,
        "hotkeys": len(report.hotkeys),
        "since": report.since and report.since.isoformat(),
        "until": report.until and report.until.isoformat(),
        "emissions": {"new": report.kept.new, "known": report.kept.known, "contradicting": report.kept.other},
        "users": {
            "database": report.users_database,
            "read": report.users_read,
            "new": None if report.dry_run else report.users_new,
            "without_room": report.users_full,
        },
        "skipped": report.skipped.to_list(),
        "not_taken_over": [{"table": t, "rows": n, "why": NOT_KEPT[t]} for t, n in report.left.items()],
        "sybil_score_cache": report.scores,
        "meaning": meaning,
    }


def shown(report: Report) -> Table:
    """Kept, skipped and left, a row each."""
    table = Table("", "how many", "of what", "why", title=f"{escape(report.database)}, sha256 {report.sha256[:16]}…")
    for row in (*_kept(report), *_skipped(report), *_left(report)):
        table.add_row(row[0], *map(escape, row[1:]))
    return table


Row = tuple[str, str, str, str]


def _kept(report: Report) -> Iterator[Row]:
    kept = report.kept
    verb = "[green]to keep[/]" if report.dry_run else "[green]kept[/]"
    span = f"{_minute(report.since)} to {_minute(report.until)} UTC" if report.since and report.until else ""
    said = f"{report.evaluations:,} evaluations of {len(report.hotkeys)} hotkeys"
    yield verb, f"{kept.new:,}", "emissions", f"{said}, {span}" if span else "no evaluation could be used"
    if kept.known:
        yield "[green]known[/]", f"{kept.known:,}", "emissions", "imported before"
    if kept.ahead:
        yield "[green]again[/]", f"{kept.ahead:,}", "of these", "imported before by a clock that was ahead of now"
    if kept.other:
        yield (
            "[yellow]look[/]",
            f"{kept.other:,}",
            "of these",
            "another emission than was imported before, which stands",
        )
    if report.users_database is not None:
        new = report.users_read if report.dry_run else report.users_new
        yield verb, f"{new:,}", "users", f"of {report.users_read:,} in {report.users_database}"
    if report.users_full:
        yield "[yellow]skipped[/]", f"{report.users_full:,}", "users", "as many are registered as are kept"


def _skipped(report: Report) -> Iterator[Row]:
    for each in report.skipped.to_list():
        yield "[yellow]skipped[/]", f"{each['count']:,}", each["what"], f"{each['why']}, such as {each['examples'][0]}"


def _left(report: Report) -> Iterator[Row]:
    for table, rows in report.left.items():
        yield "left", f"{rows:,}", table, NOT_KEPT[table]
    if report.scores is not None:
        yield "left", "1", SCORE_CACHE, f"{report.scores}: {SCORES_LEFT}"


def meaning(report: Report, now: datetime, lookback_h: float, least: int) -> str:
    """What it means for the first weights, in a line or two."""
    if report.over:
        return "Weights of this validator's own rounds were set since the first import: they go on. " + FOR_THE_RECORD
    until = report.until if report.found is None else report.found.until
    if until is None:
        return "No emission can be used: weights begin with this validator's own rounds."
    expires = until + timedelta(hours=lookback_h)
    if report.found is None or expires < now:
        return (
            f"The newest evaluation is of {_minute(until)} UTC, {_hours(now - until)} ago, and weights look back "
            f"{lookback_h:g} h: they begin with this validator's own rounds. {FOR_THE_RECORD}"
        )
    if not any(often_enough(report.found, least).shares.values()):
        return (
            f"The last {PAY.lookback_hours:g} h of these evaluations pay nobody, or only whom too few of them name: "
            f"weights begin with this validator's own rounds. {FOR_THE_RECORD}"
        )
    return (
        f"Until half of the miners that these pay and that still serve have been asked {least} times by this "
        f"validator, or looked for in vain, and until {_minute(expires)} UTC at the latest, weights are the network's "
        f"moving average of the last {PAY.lookback_hours:g} h of these evaluations (basis imported); from then on, of "
        "its own rounds alone."
    )


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.0f} h"


def _minute(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
