"""`python -m loosh_pipeline.logged -m MODULE ARGUMENT…`: run a program of somebody else's, logging as we do.

Dagster's programs set logging up themselves, with colours; here they find it done.
"""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Sequence
from typing import Any

from loosh_pipeline.logs import configure
from loosh_pipeline.settings import get_settings

USAGE = "usage: python -m loosh_pipeline.logged -m MODULE [ARGUMENT…]"


def main(arguments: Sequence[str]) -> None:
    """Run a module as `python -m` would. Ends with 2 when none is named."""
    if len(arguments) < 2 or arguments[0] != "-m":
        print(USAGE, file=sys.stderr)
        raise SystemExit(2)
    configure(get_settings(), arguments[1])
    leave_logging_alone()
    sys.argv = list(arguments[1:])
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


def leave_logging_alone() -> None:
    """Have Dagster, and uvicorn under it, log through the root logger: neither offers a setting for it.

    For processes that execute runs as well: a run's console logger is coloured.
    """
    import coloredlogs
    import dagster._utils.log
    import uvicorn.config

    dagster._utils.log.configure_loggers = _nothing
    coloredlogs.install = _through_root
    uvicorn.config.LOGGING_CONFIG.clear()
    uvicorn.config.LOGGING_CONFIG.update(version=1, disable_existing_loggers=False)


def _nothing(*_: Any, **__: Any) -> None:
    """In place of Dagster's own set-up of logging."""


def _through_root(level: int | str | None = None, logger: logging.Logger | None = None, **_: Any) -> None:
    """A logger that stands apart, as those of runs and sensors do, says what it has to say as the root logger would."""
    if logger is not None:
        logger.handlers = list(logging.getLogger().handlers)


if __name__ == "__main__":
    main(sys.argv[1:])
