"""Which runtime the chain runs, and since when it is another than before: an upgrade may change what calls mean."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select

from loosh_pipeline.chain.records import SPEC_CHANGE_SHOWN, SpecChange
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.flags import set_flag
from loosh_pipeline.store.schema import flags

CURRENT = "spec_version"
BEFORE = "spec_version_before"


class SpecVersions:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, version: int, now: datetime) -> None:
        """The chain was seen to run this version. Of several changes that are all still told, the version before the
        first is remembered.
        """
        with reading(self._engine) as connection:
            if self._known(connection).get(CURRENT, ("", now))[0] == str(version):
                return
        with self._engine.begin() as connection:
            known = self._known(connection)
            told = BEFORE in known and now - known[CURRENT][1] < SPEC_CHANGE_SHOWN
            if CURRENT in known and not told:
                set_flag(connection, BEFORE, known[CURRENT][0], now)
            elif BEFORE in known and known[BEFORE][0] == str(version):  # taken back, or one node is behind
                connection.execute(delete(flags).where(flags.c.name == BEFORE))
            set_flag(connection, CURRENT, str(version), now)

    def change(self) -> SpecChange | None:
        """What nobody has acknowledged yet, and when the last of it was seen."""
        with reading(self._engine) as connection:
            known = self._known(connection)
        if BEFORE not in known:
            return None
        after, at = known[CURRENT]
        return SpecChange(int(known[BEFORE][0]), int(after), at)

    def _known(self, connection: Connection) -> dict[str, tuple[str, datetime]]:
        query = select(flags.c.name, flags.c.value, flags.c.changed_at).where(flags.c.name.in_((CURRENT, BEFORE)))
        return {row.name: (row.value, row.changed_at) for row in connection.execute(query)}

    def acknowledge(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(flags).where(flags.c.name == BEFORE))
