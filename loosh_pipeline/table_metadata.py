"""What Dagster shows of a table that was written, under the names that its UI knows."""

from __future__ import annotations

from dagster import MetadataValue

from loosh_pipeline.store.tables import WrittenTable

ROW_COUNT = "dagster/row_count"
OF_PARTITION = "dagster/partition_row_count"


def written(table: WrittenTable) -> dict[str, MetadataValue]:
    """What every asset shows whose table is made as a whole each time."""
    return {ROW_COUNT: MetadataValue.int(table.rows), **_file_of(table)}


def written_of_one(table: WrittenTable) -> dict[str, MetadataValue]:
    """What an asset shows of one partition, which is a part of its table."""
    return {OF_PARTITION: MetadataValue.int(table.rows), **_file_of(table)}


def _file_of(table: WrittenTable) -> dict[str, MetadataValue]:
    return {
        "dagster/size_bytes": MetadataValue.int(table.size_bytes),
        "sha256": MetadataValue.text(table.sha256),
        "path": MetadataValue.path(table.path),
    }
