"""Pages of a full subnet with many epochs stay small, whatever is asked for."""

from __future__ import annotations

import pytest

from ingress.pages.miner_rows import COLUMNS
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from tests.ingress.conftest import HERE, Serve
from tests.ingress.pages.many_epochs import MINERS, fill, hotkey_of, now

MOST_BYTES = 200_000


@pytest.mark.slow
def test_pages_of_a_full_subnet_are_small(serve: Serve, settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    fill(inbox, Tables(settings.tables_root), 30, now(), looks_h=2.0)
    inbox.engine.dispose()
    client = serve(HERE, dagster_url="http://127.0.0.1:3999")
    paths = [f"/miners?sort={name}" for name in COLUMNS]
    paths += ["/miners", f"/miners/{hotkey_of(0)}", f"/miners/{hotkey_of(0)}?with={hotkey_of(1)}", "/weights"]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200
        assert len(answer.content) < MOST_BYTES, path
    page = client.get("/miners").text
    served = MINERS - MINERS // 16
    assert page.count('<td><a class="id" href="miners/') == served, (
        "who serves nowhere and was never looked for is no miner"
    )
    assert "multiply to this" in client.get(f"/miners/{hotkey_of(0)}?with={hotkey_of(1)}").text
