"""Makes one receipt as a page, in a process of its own: what it asks is one JSON object on stdin, and so is the answer.

    {"tables_root": …, "inbox_url": …, "epoch": "latest", "miner": …}   →   {"page": …} or {"unknown": why}

A server that people look at starts it, with low priority: reading a day of rounds takes seconds of a processor, which
whoever accepts challenges must not wait for.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

NICE = 10


def answer(asked: dict[str, str]) -> dict[str, Any]:
    """Raises StoreError for what cannot be read."""
    from loosh_pipeline.audit.receipt_page import receipt_page
    from loosh_pipeline.audit.receipts import Epoch, receipt_for
    from loosh_pipeline.errors import UnknownEpoch, UnknownMiner
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    inbox = Inbox.open(asked["inbox_url"])
    try:
        epoch = Epoch.read(Tables(asked["tables_root"]), inbox, asked["epoch"])
        return {"page": receipt_page(receipt_for(epoch, asked["miner"]), within_pages=True)}
    except (UnknownEpoch, UnknownMiner) as error:
        return {"unknown": str(error)}
    finally:
        inbox.engine.dispose()


def main() -> None:
    os.nice(NICE)
    print(json.dumps(answer(json.loads(sys.stdin.read()))))


if __name__ == "__main__":
    main()
