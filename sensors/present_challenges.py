"""Pictures and narratives of many challenges in one run, while nothing more urgent waits (PRESENT=later)."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.heatmaps import draw, heatmaps
from assets.narratives import narratives, tell
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.orchestrator import PRESENT_JOB
from loosh_pipeline.settings import Present, get_settings
from resources.llm import Narrator
from resources.store import Store
from sensors.jobs import BY_SENSOR, FOR_UPKEEP, held_up

Metadata = Mapping[str, dg.MetadataValue]

MOST = 50
BUDGET_S = 120.0
"""No challenge is begun later: a run must end before run monitoring ends it, however slow a language model is."""
MOST_LATE = timedelta(minutes=10)
"""How long a flood of challenges may put pictures off."""
PAUSE_AFTER_FAILURE = timedelta(minutes=1)


@dg.op(
    required_resource_keys={"store", "llm"},
    description="Draws and tells the newest challenges that want it, each tried once; what fails is named at the end.",
)
def present(context: dg.OpExecutionContext) -> None:
    store, llm = context.resources.store, context.resources.llm
    until_s, failed = time.monotonic() + BUDGET_S, []
    for challenge_id in store.presenting.newest(MOST):
        if time.monotonic() >= until_s:
            break
        # Taken first: one that kills its run must not kill the next as well.
        if store.presenting.take(challenge_id):
            failed += _present_one(context, store, llm, challenge_id)
    if failed:
        raise dg.Failure(f"not made, and not tried again unless materialized by hand: {', '.join(failed)}")


def _present_one(context: dg.OpExecutionContext, store: Store, llm: Narrator, challenge_id: ChallengeId) -> list[str]:
    """Materialize the picture and the narrative of one challenge; what could not be made."""
    partition = store.partition(challenge_id)
    making: dict[dg.AssetKey, Callable[[], Metadata]] = {
        heatmaps.key: lambda: draw(store, partition),
        narratives.key: lambda: tell(store, llm, partition),
    }
    failed = []
    for key, make in making.items():
        try:
            metadata = make()
        except Exception:  # of one challenge; the others' are made all the same, and the run fails in the end
            context.log.exception(f"{key.to_user_string()} of challenge {challenge_id} could not be made")
            failed.append(f"{key.to_user_string()} of {challenge_id}")
        else:
            context.log_event(dg.AssetMaterialization(key, partition=challenge_id, metadata=metadata))
    return failed


@dg.job(
    name=PRESENT_JOB,
    tags={**FOR_UPKEEP, "dagster/priority": "-10"},
    description="Makes pictures and narratives of scored challenges, many in one run.",
)
def present_challenges() -> None:
    present()


@dg.sensor(
    job=present_challenges,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Every 30 s: has pictures and narratives of scored challenges made when no challenge waits, or after ten "
        "minutes. Stopped, there are none but those that are materialized by hand."
    ),
)
def presentation_sensor(
    context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    now = datetime.now(UTC)
    oldest = store.presenting.oldest()
    if oldest is None:
        return dg.SkipReason("every scored challenge has been presented")
    queue = store.runs.queue(now)
    if (queue.in_flight or queue.due) and now - oldest < MOST_LATE:
        until = f"{oldest + MOST_LATE:%H:%M:%S} UTC at the latest"
        return dg.SkipReason(
            f"{queue.in_flight} challenges are being evaluated; pictures and narratives wait, until {until}"
        )
    if reason := held_up(context.instance, present_challenges.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    return dg.RunRequest(tags=BY_SENSOR)


LATER = get_settings().present is Present.LATER
JOBS = [present_challenges] if LATER else []
SENSORS = [presentation_sensor] if LATER else []
