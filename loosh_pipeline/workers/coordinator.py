"""Which runs start at once, and which wait in Dagster's queue."""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from loosh_pipeline.orchestrator import BACKFILL_TAG, RESCORED, RESCORED_DAYS, SCORE_JOB
from loosh_pipeline.workers.config import rescoring_tags

QUEUED = (BACKFILL_TAG, PARENT_RUN_ID_TAG)
"""Tags of evaluations that are of no fresh challenge: of backfills, and re-executed by hand."""


class InboxFirstCoordinator(QueuedRunCoordinator):
    """Evaluations of fresh challenges are launched by whoever submits them: the inbox is their queue already.

    Everything else (weights, snapshots, backfills, what an operator materializes or runs again) waits in Dagster's
    queue, with its priorities and limits. What is scored again comes last.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        if tags := _rescoring(run):
            # Runs of the asset's page have no job of ours that would say so.
            self._instance.add_run_tags(run.run_id, tags)
        if run.job_name != SCORE_JOB or any(tag in run.tags for tag in QUEUED):
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)


def _rescoring(run: DagsterRun) -> dict[str, str]:
    """The tags of a run that does nothing but score again; none of another one."""
    made = {key.to_user_string() for key in run.asset_selection or ()}
    if not made or not made <= {RESCORED, RESCORED_DAYS}:
        return {}
    return {name: tag for name, tag in rescoring_tags(min(made)).items() if name not in run.tags}
