"""Where the parts of a validator's data lie, and what each is called in a backup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings

INBOX, USERS, TABLES, HISTORY = "validator.db", "users.db", "tables", "dagster_home"


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute paths. None: kept by a server elsewhere (Postgres, an object store), which is backed up there."""

    home: Path
    inbox: Path | None
    users: Path | None
    tables: Path | None

    @classmethod
    def of(cls, settings: Settings) -> Places:
        tables = settings.tables_root
        return cls(
            settings.home,
            None if settings.database_url else _absolute(settings.db_path or settings.home / INBOX),
            None if settings.database_url else _absolute(settings.users_path),
            None if "://" in tables else _absolute(Path(tables)),
        )

    @classmethod
    def usual(cls, home: Path) -> Places:
        """In a directory of its own, whatever the settings say."""
        home = _absolute(home)
        return cls(home, home / INBOX, home / USERS, home / TABLES)

    @property
    def history(self) -> Path:
        return self.home / HISTORY

    def inside(self) -> dict[str, Path]:
        """Where each part lies below `home`; what is kept elsewhere lies where it would without that.

        Raises ConfigError that names what lies outside: several directories cannot be replaced as one.
        """
        kept = {INBOX: self.inbox, USERS: self.users, TABLES: self.tables}
        parts = {name: path or self.home / name for name, path in kept.items()}
        if outside := [f"{name} ({path})" for name, path in parts.items() if not path.is_relative_to(self.home)]:
            raise ConfigError(
                f"{', '.join(outside)} would lie outside LOOSH_HOME ({self.home}), and only one directory is replaced "
                "as a whole; restore with `--into DIRECTORY`, then move its parts to where the settings want them"
            )
        return {**{name: path.relative_to(self.home) for name, path in parts.items()}, HISTORY: Path(HISTORY)}


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()
