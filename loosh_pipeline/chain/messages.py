"""What goes between this process and the one that talks to the chain: JSON of the domain's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from loosh_pipeline.domain import Hotkey, Metagraph, ObservedWeights, Submission, WeightPlan

Operation = Literal["snapshot", "submit_weights", "observe"]


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """One operation for one process. `deadline_s`: the process ends itself then, should its parent be gone."""

    endpoint: str
    wallet_path: Path
    wallet_name: str
    hotkey_name: str
    deadline_s: float
    netuid: int
    hotkey: Hotkey | None = None
    plan: WeightPlan | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Either `result`, as JSON of the operation's type, or the name of an error class and its message."""

    result: Any = None
    error_type: str | None = None
    error: str = ""


REQUEST = TypeAdapter(ChainRequest)
ANSWER = TypeAdapter(Answer)
RESULTS: Mapping[Operation, TypeAdapter[Any]] = {
    "snapshot": TypeAdapter(Metagraph),
    "submit_weights": TypeAdapter(Submission),
    "observe": TypeAdapter(ObservedWeights),
}
