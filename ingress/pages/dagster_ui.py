"""Where the Dagster UI shows what a page speaks of."""

from __future__ import annotations

from urllib.parse import quote


def of_asset(base: str, asset: str) -> str:
    return f"{base}/assets/{quote(asset)}"


def of_partition(base: str, asset: str, partition: str) -> str:
    return f"{of_asset(base, asset)}?view=partitions&partition={quote(partition, safe='')}"


def of_run(base: str, run_id: str) -> str:
    return f"{base}/runs/{quote(run_id)}"


def of_job_runs(base: str, job: str) -> str:
    return f"{base}/runs?q%5B0%5D=job%3A{quote(job, safe='')}"
