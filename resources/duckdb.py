"""DuckDB over the asset tables."""

from __future__ import annotations

from dagster_duckdb import DuckDBResource


def tables_duckdb() -> DuckDBResource:
    """An in-memory database that views the Parquet files: nothing is locked, whoever reads or writes."""
    return DuckDBResource(database=":memory:")
