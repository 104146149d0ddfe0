"""What takes long to load and not every page needs: it is loaded once, beside the pages, and nobody waits for it.

Nothing of it is on the way of a challenge, so an ingress whose pages nobody looks at never loads it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

AFTER_S = 1.0
"""How long after the first page it begins: the first pages should not share the processor with it."""


class Loading:
    """Calls `load` once, in a thread of its own."""

    def __init__(self, load: Callable[[], None]) -> None:
        self._load = load
        self._beginning = threading.Lock()
        self._begun = False
        self._over = threading.Event()

    def begin(self) -> None:
        """See to it that it is loaded in a while. Does not block."""
        with self._beginning:
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._work, name="loading", daemon=True).start()

    def is_over(self) -> bool:
        """Whether it was loaded, or failed to. Does not block."""
        return self._over.is_set()

    def _work(self) -> None:
        time.sleep(AFTER_S)
        try:
            self._load()
        except Exception:  # who needs it fails at it again, and says so where it is seen
            logger.exception("what pages need cannot be loaded")
        finally:
            self._over.set()
