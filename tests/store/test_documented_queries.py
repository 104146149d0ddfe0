"""What docs/operating/data.md says to ask DuckDB is what there is, wherever tables lie."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from loosh_pipeline.store.compaction_plan import KEPT
from loosh_pipeline.store.tables import TableKey, Tables
from tests.store.compacted import DAY, LATER, SCORES, compact, compact_wholly, in_sql, put_scores, scores

DOCS = Path(__file__).resolve().parents[2] / "docs/operating/data.md"


def macro() -> str:
    (found,) = re.findall(r"```sql\n(CREATE MACRO .*?;)\n", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def asked(tables: Tables) -> list[str]:
    """The rows of scores by the macro, as `in_sql` says them."""
    home = Path(tables.objects.root).parent
    connection = duckdb.connect()
    connection.execute(macro().replace("'.loosh/tables/'", f"'{home}/tables/'"))
    rows = connection.execute(
        f"SELECT count(*), count(DISTINCT file), sum(payout) FROM loosh('{SCORES}') WHERE payout < 99"
    )
    return [str(rows.fetchone())]


def known(tables: Tables) -> list[str]:
    frames = [(key.file, frame) for day in tables.days(SCORES) for key, frame in tables.each(SCORES, day)]
    rows = [(file, each) for file, frame in frames for each in frame["payout"].to_list() if each < 99]
    return [str((len(rows), len({file for file, _ in rows}), sum(each for _, each in rows)))]


def test_the_macro_counts_every_table_once(local: Tables) -> None:
    put_scores(local, 9)
    assert asked(local) == known(local)
    compact(local)
    assert asked(local) == known(local)
    at = compact_wholly(local, LATER + KEPT)
    assert asked(local) == known(local)
    local.write(SCORES, TableKey(DAY, "c-000", "v1"), scores("c-000", 5.5))
    assert asked(local) == known(local)
    compact_wholly(local, at)
    assert asked(local) == known(local)
    assert len(in_sql(local)) == 19


def test_the_view_is_exact_where_the_macro_sees_rows_alone(local: Tables) -> None:
    put_scores(local, 6)
    compact_wholly(local)
    local.remove(SCORES, TableKey(DAY, "c-000", "v1"))
    local.write(SCORES, TableKey(DAY, "c-002", "v1"), scores("c-002"))
    assert len(in_sql(local)) == sum(frame.height for _, frame in local.each(SCORES, DAY))
    assert asked(local) != known(local), "or say in docs/operating/data.md that it is exact"


def test_a_view_is_made_anew_once_its_day_was_compacted(local: Tables) -> None:
    put_scores(local, 3)
    connection = duckdb.connect()
    local.register_views(connection, [SCORES])
    compact_wholly(local)
    with pytest.raises(duckdb.IOException, match="No files found"):
        connection.execute(f"SELECT count(*) FROM {SCORES}")
    local.register_views(connection, [SCORES])
    assert connection.execute(f"SELECT count(*) FROM {SCORES}").fetchone() == (9,)
