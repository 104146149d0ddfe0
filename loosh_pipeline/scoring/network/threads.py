"""scikit-learn for a handful of rows: what it does for large data costs many times what it saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sklearn
from sklearn.utils.parallel import _get_threadpool_controller


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, numpy and scikit-learn use a single thread, in this whole process."""
    with _get_threadpool_controller().limit(limits=1):
        yield


@contextmanager
def taken_as_given() -> Iterator[None]:
    """Within it, scikit-learn checks neither its parameters, which are ours, nor that its input is finite, which we do.

    It changes no result.
    """
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        yield
