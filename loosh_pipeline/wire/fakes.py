"""In-memory stand-ins of the wire's gateways, for tests and dry runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from loosh_pipeline.domain import RESULTS, DeliveryKind, Hotkey
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.network_view import ScoresSaid, ValidatorsSaid


class FakeChallengeApi:
    """A Challenge API that answers from a script and remembers everything it was told, in `calls` and `kinds`.

    When the script is used up it behaves as the API does: a challenge is delivered once, and `already` after. What it
    says of hotkeys stands in `view` and `scores`; `asked` is whom it was asked about.
    """

    def __init__(
        self,
        script: Iterable[Delivery] = (),
        view: ValidatorsSaid | Exception | None = None,
        scores: ScoresSaid | Exception | None = None,
    ) -> None:
        self.calls: list[dict[str, Any]] = []
        self.kinds: list[DeliveryKind] = []
        self.asked: list[tuple[Hotkey, ...]] = []
        self.view = view or ValidatorsSaid()
        self.scores = scores or ScoresSaid()
        self._script = iter(script)
        self._known: set[str] = set()

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        body = json.loads(payload)
        self.calls.append(body)
        self.kinds.append(kind)
        scripted = next(self._script, None)
        if scripted is not None:
            return scripted
        return self._accept(body.get("challenge_id") or body.get("id")) if kind in RESULTS else _DELIVERED

    def validators(self) -> ValidatorsSaid:
        if isinstance(self.view, Exception):
            raise self.view
        return self.view

    def sybil_scores(self, miners: Sequence[Hotkey]) -> ScoresSaid:
        self.asked.append(tuple(miners))
        if isinstance(self.scores, Exception):
            raise self.scores
        return self.scores

    def _accept(self, challenge_id: str) -> Delivery:
        if challenge_id in self._known:
            return Delivery(DeliveryStatus.ALREADY, f"{challenge_id} was sent before")
        self._known.add(challenge_id)
        return _DELIVERED


_DELIVERED = Delivery(DeliveryStatus.DELIVERED)
