"""One thread for work too small to share out: threads that wait for each other cost many times what they save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sklearn.utils.parallel import _get_threadpool_controller


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, numpy and scikit-learn use a single thread, in this whole process."""
    with _get_threadpool_controller().limit(limits=1):
        yield
