"""Pages for people: who sees them."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.tables import file_stem
from tests.ingress.conftest import AWAY, HERE, Serve

PAGES = ("/", "/challenges", "/heatmaps/c-1.png", "/heatmaps/c-1.json")


def statuses(client: TestClient, **headers: str) -> set[int]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        200 if each.status_code in (200, 404) else each.status_code
        for each in (client.get(p, headers=given) for p in PAGES)
    }


def test_prompts_and_pictures_are_not_for_strangers(serve: Serve) -> None:
    client = serve(AWAY, challenge_push_api_key="hunter2")
    assert statuses(client) == {403}
    assert "SSH tunnel" in client.get("/").json()["detail"]
    assert statuses(client, authorization="Bearer hunter3") == {403}
    assert statuses(client, authorization="Bearer hunter2") == {200}
    assert statuses(serve(AWAY, pages_public=True)) == {200}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "127.0.0.1:8000", "referer": "http://127.0.0.1:3000/"}, 200),
        ({"host": "v.example:8000"}, 403),
        ({"x_forwarded_for": "203.0.113.9"}, 403),
    ],
)
def test_pages_are_for_a_browser_here(serve: Serve, headers: dict[str, str], status: int) -> None:
    assert statuses(serve(HERE), **headers) == {status}


def test_pages_are_not_for_what_a_proxy_here_may_have_passed_on(serve: Serve) -> None:
    assert statuses(serve(HERE, intake_local_auth=True)) == {403}


def test_a_picture_is_kept_by_no_proxy_and_runs_nothing(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    for kind, content in (("png", b"<script>"), ("json", b"{}")):
        (settings.heatmaps_root / f"{file_stem('c-1')}.{kind}").write_bytes(content)
        headers = client.get(f"/heatmaps/c-1.{kind}").headers
        assert headers["cache-control"] == "private, no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    for identity in ("%00", "x" * 3000, "..%2F..%2Fetc%2Fpasswd"):
        assert client.get(f"/heatmaps/{identity}.png").status_code == 404
