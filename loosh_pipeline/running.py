"""What `loosh up` does: hold the data directory, start every process, look after them and after the clock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from loosh_pipeline.clock import ClockWatch
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.services import DAEMON, environment, services
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.foreign import check_ours
from loosh_pipeline.supervisor import Say, supervised

PUT_RIGHT_WITHIN_S = 60.0


def run_validator(settings: Settings, say: Say, started: Callable[[], object]) -> None:
    """Run until Ctrl-C. Raises ConfigError when the data directory is held or cannot be written, or
    a database is another program's, and ServiceError.

    `started` is called when every process is ready.
    """
    _check_databases(settings)
    with validator_lock(settings.home, say) as held:
        logs = settings.home / "logs"
        say(f"starting; logs are in {logs}")
        ours = services(settings)
        clock = ClockWatch(settings.home / "clock")
        if back_s := clock.set_back_s():
            _put_right(settings, back_s, say)
        with supervised(ours, logs, say, inherited=(held,)) as supervisor:
            started()

            def watch_clock() -> None:
                if back_s := clock.set_back_s():
                    with supervisor.stopped(DAEMON):
                        _put_right(settings, back_s, say)

            supervisor.supervise(watch_clock)


def _check_databases(settings: Settings) -> None:
    """A `.env` that was brought along may name another program's. Raises ConfigError before anything is started."""
    try:
        if settings.database_url is None:
            check_ours((settings.db_path or settings.home / "validator.db").expanduser(), "inbox")
        check_ours((settings.users_db_path or settings.home / "users.db").expanduser(), "users")
    except StoreError as error:
        raise ConfigError(str(error)) from error


def _put_right(settings: Settings, back_s: float, say: Say) -> None:
    """In a process of its own: it loads Dagster, which this one, that runs for months, can do without."""
    say(f"the clock was set back by {back_s:.0f} s; what was put off to a later time is taken up now")
    home = settings.home / "dagster_home"
    command = [sys.executable, "-m", "loosh_pipeline.clock_set_back"]
    try:
        subprocess.run(
            command, env={**os.environ, **environment(settings, home)}, cwd=home, check=True, timeout=PUT_RIGHT_WITHIN_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        say(f"that did not succeed ({error}); for {back_s:.0f} s some retries and sensors may stand still")
