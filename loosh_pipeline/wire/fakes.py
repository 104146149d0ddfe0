"""In-memory stand-ins of the wire's gateways, for tests and dry runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus


class FakeChallengeApi:
    """A Challenge API that answers from a script and remembers every batch it was sent.

    When the script is used up it behaves as the API does: a challenge is delivered once, and `already` after.
    """

    def __init__(self, script: Iterable[Delivery] = ()) -> None:
        self.calls: list[dict[str, Any]] = []
        self._script = iter(script)
        self._known: set[str] = set()

    def send_batch(self, payload: Mapping[str, Any] | bytes) -> Delivery:
        batch = json.loads(payload) if isinstance(payload, bytes) else dict(payload)
        self.calls.append(batch)
        scripted = next(self._script, None)
        return scripted if scripted is not None else self._accept(batch["challenge_id"])

    def _accept(self, challenge_id: str) -> Delivery:
        if challenge_id in self._known:
            return Delivery(DeliveryStatus.ALREADY, f"{challenge_id} was sent before")
        self._known.add(challenge_id)
        return Delivery(DeliveryStatus.DELIVERED)
