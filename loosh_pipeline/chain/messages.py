"""What goes between this process and the one that talks to the chain: lines of JSON of the domain's own types.

The request goes in, the answer comes out. An operation that sends first answers with what it signed and waits for
`GO`; when none comes, because whoever asked is gone or thought better of it, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, SignedExtrinsic, Submission, WeightPlan

Operation = Literal["snapshot", "submit_weights", "observe", "block_hash", "serve_axon"]

GO = b"go\n"


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """One operation for one process. `deadline_s`: the process ends itself then, should its parent be gone."""

    endpoint: str
    wallet_path: Path
    wallet_name: str
    hotkey_name: str
    deadline_s: float
    stale_after_s: float
    netuid: int
    hotkey: Hotkey | None = None
    plan: WeightPlan | None = None
    ip: str | None = None
    port: int = 0
    block: Block | None = None
    expected_genesis: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was signed, or `result` as JSON of the operation's type, or the name of an error class and its message."""

    result: Any = None
    signed: SignedExtrinsic | None = None
    error_type: str | None = None
    error: str = ""


REQUEST = TypeAdapter(ChainRequest)
ANSWER = TypeAdapter(Answer)
RESULTS: Mapping[Operation, TypeAdapter[Any]] = {
    "snapshot": TypeAdapter(Metagraph),
    "submit_weights": TypeAdapter(Submission),
    "observe": TypeAdapter(ObservedWeights),
    "block_hash": TypeAdapter(str | None),
    "serve_axon": TypeAdapter(Submission),
}
SENDING = frozenset[Operation]({"submit_weights", "serve_axon"})
"""Operations after which an error may mean that it was done all the same."""
