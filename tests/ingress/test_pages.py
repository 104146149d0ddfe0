"""What the overview says of results that the Challenge API refused."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi.testclient import TestClient

from ingress.main import create_app
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox


def test_a_refused_result_is_shown_with_its_reason_and_no_markup_of_it_counts(settings: Settings) -> None:
    now = datetime.now(UTC)
    with TestClient(create_app(settings)) as client:
        assert "Refused by the Challenge API" not in client.get("/").text
        inbox = Inbox.open(settings.inbox_url)
        inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "hi"}, now)
        outbox = Outbox(inbox.engine)
        outbox.keep_result(ChallengeId("c-1"), b"{}", now)
        outbox.park(outbox.lease(now, 1)[0], "HTTP 422: <script>no</script>")
        page = client.get("/").text
        inbox.engine.dispose()
    assert "Refused by the Challenge API" in page
    assert "HTTP 422: &lt;script&gt;no&lt;/script&gt;" in page
    assert "0 + 1 refused" in page
