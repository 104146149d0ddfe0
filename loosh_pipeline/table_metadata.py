"""What Dagster shows of a table that was written, under the names that its UI knows."""

from __future__ import annotations

from dagster import MetadataValue

from loosh_pipeline.store.tables import WrittenTable

ROW_COUNT = "dagster/row_count"


def written(table: WrittenTable) -> dict[str, MetadataValue]:
    """Metadata that every asset with a table shows."""
    return {
        ROW_COUNT: MetadataValue.int(table.rows),
        "dagster/size_bytes": MetadataValue.int(table.size_bytes),
        "sha256": MetadataValue.text(table.sha256),
        "path": MetadataValue.path(table.path),
    }
