"""What may be said to the Challenge API: to which path, how protected, and what it answers when it took it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.wire.messages import BATCH_PATH

CALLBACK_PATH = "/fiber/callback"
HEATMAP_PATH = "/fiber/heatmap/upload"
CLEAR_BATCH_PATH = "/response/batch"
VALIDATORS_PATH = "/validators"
ACTIVE_HOTKEYS_PATH = "/validators/active-hotkeys"
"""Which miners read, to know whom to answer."""
SYBIL_SCORES_PATH = "/analytics/sybil-scores/batch"
SYBIL_REPORT_PATH = "/analytics/sybil-detection/bulk"
NETWORK_REPORT_PATH = "/analytics/miner-network/bulk"
PENALTY_REPORT_PATH = "/analytics/penalty-report"

CLEAR_BATCH_HOTKEY_HEADER = "x-validator-hotkey"
CLEAR_BATCH_TAKEN = 201


@dataclass(frozen=True, slots=True)
class Call:
    """A POST. `sealed`: encrypted under a session; otherwise in clear, signed by the hotkey."""

    path: str
    taken: frozenset[int]
    sealed: bool


def _sealed(path: str) -> Call:
    return Call(path, frozenset({200, 201}), sealed=True)


def _signed(path: str) -> Call:
    return Call(path, frozenset({201}), sealed=False)


CALLS: Mapping[DeliveryKind, Call] = {
    DeliveryKind.RESPONSE_BATCH: _sealed(BATCH_PATH),
    DeliveryKind.CALLBACK: _sealed(CALLBACK_PATH),
    DeliveryKind.HEATMAP: _sealed(HEATMAP_PATH),
    DeliveryKind.SYBIL_REPORT: _signed(SYBIL_REPORT_PATH),
    DeliveryKind.NETWORK_REPORT: _signed(NETWORK_REPORT_PATH),
    DeliveryKind.PENALTY_REPORT: _signed(PENALTY_REPORT_PATH),
}
