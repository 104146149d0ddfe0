"""Which runs start at once, and which wait in Dagster's queue."""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext

from loosh_pipeline.orchestrator import BACKFILL_TAG, SCORE_JOB


class InboxFirstCoordinator(QueuedRunCoordinator):
    """Evaluations of fresh challenges are launched by whoever submits them: the inbox is their queue already.

    Everything else (weights, snapshots, backfills, what an operator materializes) waits in Dagster's queue, with its
    priorities and limits.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        if run.job_name != SCORE_JOB or BACKFILL_TAG in run.tags:
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)
