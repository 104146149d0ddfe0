"""How this validator stands with the chain, by what is stored, for pages: judging it reads tables, so many who ask
within some seconds share one judgement.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine

from loosh_pipeline.chain.alerts import Standing
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.errors import LooshError
from loosh_pipeline.settings import Settings

KEPT_S = 5.0


class Standings:
    """What was judged last, if that was a moment ago."""

    def __init__(self, settings: Settings, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._engine, self._clock = settings, engine, clock
        self._judging = threading.Lock()
        self._judged: tuple[float, Standing | str] | None = None

    def __call__(self) -> Standing | str:
        """As `loosh chain status --stored` says it; in words why, where it cannot be judged. Blocks."""
        with self._judging:
            if self._judged is None or self._clock() - self._judged[0] >= KEPT_S:
                found = self._judge()
                self._judged = self._clock(), found
            return self._judged[1]

    def _judge(self) -> Standing | str:
        try:
            return stored_standing(self._settings, self._engine, datetime.now(UTC))
        except (LooshError, OSError, ValueError) as error:  # told in its place: the rest of a page is there
            return f"{type(error).__name__}: {error}"
