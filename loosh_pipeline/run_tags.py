"""Tags by which runs are known and filtered, beside Dagster's own (`dagster/partition` is the challenge's id)."""

from __future__ import annotations

ATTEMPT_TAG = "loosh/attempt"
"""Which attempt at its challenge a run is, from 1."""
LAUNCHED_BY_TAG = "loosh/launched-by"
"""Who asked for a run: `ingress`, `sensor`, `schedule` or `command`; `retry` where an earlier attempt died. Runs of a
backfill carry Dagster's own tag, and those launched in its UI none."""
PROFILE_TAG = "loosh/profile"
"""The profile that pays, of runs that score challenges or set weights."""
MODE_TAG = "loosh/mode"
"""How pressing it was to set weights, of runs that the schedule asked for."""


def attempt_tags(attempt: int, launched_by: str) -> dict[str, str]:
    """Of the run of a challenge."""
    return {ATTEMPT_TAG: str(attempt), LAUNCHED_BY_TAG: launched_by if attempt == 1 else "retry"}
