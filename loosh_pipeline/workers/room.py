"""How many more evaluations the workers could execute."""

from __future__ import annotations

from sqlalchemy import Engine

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.workers.config import EVALUATIONS, children, folder, marks
from loosh_pipeline.workers.holding import busy


def free_children(settings: Settings, engine: Engine) -> int:
    """How many processes, of this machine or of all that are heard of, could evaluate something more.

    A challenge is in flight no longer when it has scores, but its run goes on: it tells, draws and narrates. `engine`
    is that of the inbox, in which workers of several machines tell what they do.
    """
    if settings.spread:
        return Hosts(engine).free(EVALUATIONS)
    return children(settings, EVALUATIONS) - busy(marks(folder(settings), EVALUATIONS))
