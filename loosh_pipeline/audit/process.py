"""Makes one receipt as part of a page, in a process of its own: it is asked by a JSON object, and answers with one.

    {"tables_root": …, "inbox_url": …, "epoch": "latest", "miner": …, "up": "../../", "rounds": true}
        →  {"body": …}, {"unknown": why} or {"error": why}

A server that people look at starts it, with low priority: reading a day of rounds takes seconds of a processor, which
whoever accepts challenges must not wait for.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

NICE = 10


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """`unknown` for a miner or an epoch that there is not, `error` for what cannot be read."""
    from sqlalchemy.exc import SQLAlchemyError

    from loosh_pipeline.errors import LooshError, UnknownEpoch, UnknownMiner

    try:
        return {"body": _body(asked)}
    except (UnknownEpoch, UnknownMiner) as error:
        return {"unknown": str(error)}
    except SQLAlchemyError as error:  # whose whole text quotes the query and ends with an address
        return {"error": f"the inbox cannot be read: {error.args[0] if error.args else error}"}
    except (LooshError, OSError) as error:
        return {"error": str(error)}


def _body(asked: dict[str, Any]) -> str:
    from loosh_pipeline.audit.kept_epoch import Epoch
    from loosh_pipeline.audit.receipt_page import receipt_body, without_rounds
    from loosh_pipeline.audit.receipts import receipt_for
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    inbox = Inbox.open(asked["inbox_url"])
    try:
        epoch = Epoch.read(Tables(asked["tables_root"]), inbox, asked["epoch"])
        receipt = receipt_for(epoch, asked["miner"])
        return receipt_body(receipt if asked["rounds"] else without_rounds(receipt), asked["up"])
    finally:
        inbox.engine.dispose()


def main() -> None:
    os.nice(NICE)
    print(json.dumps(answer(json.loads(sys.stdin.read()))))


if __name__ == "__main__":
    main()
