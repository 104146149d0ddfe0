"""What `loosh up` does: hold the data directory, start every process, look after them and after the clock."""

from __future__ import annotations

import functools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from importlib.metadata import version

from loosh_pipeline.canaries.questions import read_questions
from loosh_pipeline.clock import ClockWatch
from loosh_pipeline.errors import ConfigError, ServiceError, StoreError
from loosh_pipeline.lock import note_stopping, validator_lock
from loosh_pipeline.log_files import LogFiles, LogForm, Say, check_log_file
from loosh_pipeline.redaction import redactor
from loosh_pipeline.run_state import RunState, forget
from loosh_pipeline.services import DAEMON, environment, services
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import INGRESS, KEEPS
from loosh_pipeline.store.foreign import check_ours
from loosh_pipeline.store.shared_places import see_what_is_shared
from loosh_pipeline.supervisor import supervised

PUT_RIGHT_WITHIN_S = 60.0
WRITTEN_BY = ".written-by"
"""Says which version of Dagster last had the history of runs in its schema."""
NAME = "loosh-up"
"""Of this process, in its log."""


def run_validator(settings: Settings, say: Say, started: Callable[[], object]) -> None:
    """Run until Ctrl-C. Raises ConfigError when LOG_FILE cannot be written or a database is another program's,
    and ServiceError, also when the data directory is held or cannot be written.

    `started` is called when every process is ready.
    """
    check_databases(settings)
    check_canaries(settings)
    if settings.runs_here(DAEMON):
        see_what_is_shared(settings)
    logs, form = settings.home / "logs", log_form(settings)
    if form.together is not None:
        check_log_file(form.together)
    with validator_lock(settings.home, say) as held, closing(LogFiles(logs, say, form)) as files:
        say = _also_kept(say, files)
        say(f"starting; logs are in {logs}")
        forget(settings.home)
        ours = services(settings)
        if settings.runs_here(DAEMON):
            _renew_history(settings, say)
        clock = ClockWatch(settings.home / "clock")
        if back_s := clock.set_back_s():
            _put_right(settings, back_s, say)
        stopping = functools.partial(note_stopping, held)
        with supervised(ours, logs, say, inherited=(held,), files=files, stopping=stopping) as supervisor:
            state = RunState(settings.home, supervisor)
            state.keep()
            started()

            def look_after() -> None:
                state.keep()
                if back_s := clock.set_back_s():
                    with supervisor.stopped(DAEMON) if settings.runs_here(DAEMON) else nullcontext():
                        _put_right(settings, back_s, say)

            supervisor.supervise(look_after)


def log_form(settings: Settings) -> LogForm:
    """How the lines of all processes are kept."""
    together = settings.log_file and settings.home / settings.log_file.expanduser()
    return LogForm(settings.log_format == "json", together, redactor(settings))


def _also_kept(say: Say, files: LogFiles) -> Say:
    """What is said in the terminal stands in a log file of its own, and in the common one, too."""

    def both(text: str) -> None:
        say(text)
        files.note(NAME, text)

    return both


def check_databases(settings: Settings) -> None:
    """A `.env` that was brought along may name another program's. Raises ConfigError before anything is started, and
    StoreError where a lock keeps that from being told.
    """
    try:
        if settings.database_url is None:
            check_ours((settings.db_path or settings.home / "validator.db").expanduser(), "inbox")
        check_ours(settings.users_path, "users")
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.Error):  # locked, for now
            raise
        raise ConfigError(str(error)) from error


def check_canaries(settings: Settings) -> None:
    """Raises ConfigError for a file of canaries that an ingress here could not use."""
    if settings.runs_here(INGRESS) and settings.canaries_path is not None and settings.canary_rate:
        read_questions(settings.canaries_path)


def _renew_history(settings: Settings, say: Say) -> None:
    """Bring what an earlier Dagster recorded into the schema of this one: it does not do so by itself.

    Raises ServiceError with what Dagster said; the history is as it was then.
    """
    home = settings.home / "dagster_home"
    written_by, present = home / WRITTEN_BY, version("dagster")
    before = written_by.read_text() if written_by.exists() else "an earlier version"
    if before == present:
        return
    if (home / "history").exists() or settings.dagster_database_url is not None:
        say(f"bringing Dagster's records of runs from {before} to {present}; with many runs this takes minutes")
        command = [sys.executable, "-m", "dagster", "instance", "migrate"]
        env = {**os.environ, **environment(settings, home)}
        ended = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            said = ended.stderr.strip().splitlines()
            why = next((line for line in reversed(said) if "Error" in line), f"status {ended.returncode}")
            raise ServiceError(
                f"Dagster's records of runs could not be brought to {present} ({why}); {_without_history(settings)}: "
                "only the history of runs is in it, inbox and tables are not"
            )
    home.mkdir(parents=True, exist_ok=True)
    written_by.write_text(present)


def _without_history(settings: Settings) -> str:
    """How to go on without the records of runs."""
    if settings.dagster_database_url is not None:
        return "see that DAGSTER_DATABASE_URL is right and its server is up, or name an empty database"
    return f"move {settings.home / 'dagster_home'} away"


def _put_right(settings: Settings, back_s: float, say: Say) -> None:
    """In a process of its own: it loads Dagster, which this one, that runs for months, can do without."""
    if not settings.runs_here(*KEEPS):
        return
    say(f"the clock was set back by {back_s:.0f} s; what was put off to a later time is taken up now")
    home = settings.home / "dagster_home"
    command = [sys.executable, "-m", "loosh_pipeline.clock_set_back"]
    try:
        subprocess.run(
            command, env={**os.environ, **environment(settings, home)}, cwd=home, check=True, timeout=PUT_RIGHT_WITHIN_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        say(f"that did not succeed ({error}); for {back_s:.0f} s some retries and sensors may stand still")
