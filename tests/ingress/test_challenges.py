from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from ingress.main import create_app
from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import file_stem
from loosh_pipeline.wire.headers import LINK_HEADER

MAX_BODY_BYTES = 4 * 1024 * 1024
BODY = {"id": "c-1", "prompt": "Why is the sky blue?"}


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), client=("127.0.0.1", 5000)) as client:
        yield client


def test_accepted_challenge_is_in_the_table(client: TestClient, settings: Settings) -> None:
    answer = client.post("/challenges", json=BODY)

    assert answer.status_code == 201
    assert answer.json() == {
        "success": True,
        "message": "Challenge received successfully",
        "challenge_id": "c-1",
    }
    row = Inbox.open(settings.inbox_url).get("c-1")
    assert answer.headers[LINK_HEADER] == str(row.link)
    assert Link.read(answer.headers[LINK_HEADER]).seq == 1
    assert row.state is ChallengeState.RECEIVED
    assert row.challenge().prompt == BODY["prompt"]


def test_known_id_is_409_also_after_a_restart(client: TestClient, settings: Settings) -> None:
    assert client.post("/challenges", json=BODY).status_code == 201
    again = client.post("/challenges", json=BODY | {"prompt": "another"})
    assert (again.status_code, again.json()) == (409, {"detail": "Challenge c-1 already exists"})
    with TestClient(create_app(settings), client=("127.0.0.1", 5000)) as restarted:
        assert restarted.post("/challenges", json=BODY).status_code == 409


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"id": "x"}, "nothing to answer"),
        ({"id": "x", "prompt": "  "}, "nothing to answer"),
        ({"id": "x", "messages": [{"role": "system", "content": "be brief"}]}, "nothing to answer"),
        ({"id": "x", "prompt": "hi", "temperature": -0.1}, "greater than or equal to 0"),
        ({"id": "x", "prompt": "hi", "temperature": 2.1}, "less than or equal to 2"),
        ({"id": "x", "prompt": "hi", "top_p": 0}, "greater than 0"),
        ({"id": "x", "prompt": "hi", "max_tokens": 0}, "greater than or equal to 1"),
        ({"id": "", "prompt": "hi"}, "at least 1 character"),
        ({"id": 7, "prompt": "hi"}, "valid string"),
        ({"id": "a" * 129, "prompt": "hi"}, "at most 128 characters"),
        ({"id": "a\nb", "prompt": "hi"}, "must be printable"),
        ({"prompt": "hi"}, "Field required"),
    ],
)
def test_what_cannot_be_scored_is_422_with_the_reason(client: TestClient, body: dict[str, Any], reason: str) -> None:
    answer = client.post("/challenges", json=body)
    assert answer.status_code == 422
    assert reason in answer.text
    assert client.get("/challenges/stats").json() == {"queue_size": 0, "total_received": 0}


@pytest.mark.parametrize(
    "body",
    [
        '{"id":"x","prompt":"hi","metadata":{"a":NaN}}',
        '{"id":"x","prompt":"hi","temperature":NaN}',
        '{"id":"x","prompt":"\\ud800"}',
        '{"id":"\\ud800","prompt":"hi"}',
        '{"id":"x","prompt":"hi","metadata":{"\\ud800":1}}',
        '{"id":"x","prompt":"hi","max_tokens":1e400}',
        '{"id":"x"',
        "null",
        "",
    ],
)
def test_hostile_json_is_422_and_not_500(client: TestClient, body: str) -> None:
    answer = client.post("/challenges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert {"type", "loc", "msg"} == set(answer.json()["detail"][0])
    assert client.get("/challenges/stats").json()["total_received"] == 0


@pytest.mark.parametrize("body", ['{"id":"x","prompt":"hi","messages":' + "[" * 5000 + "]" * 5000 + "}", "[" * 100_000])
def test_json_that_nests_too_deep_is_422(client: TestClient, body: str) -> None:
    answer = client.post("/challenges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert {"type", "loc", "msg"} == set(answer.json()["detail"][0])


def test_messages_alone_are_enough(client: TestClient, settings: Settings) -> None:
    messages = [{"role": "user", "content": "first"}, {"role": "user", "content": [{"type": "text", "text": "last"}]}]
    assert client.post("/challenges", json={"id": "m", "messages": messages}).status_code == 201
    challenge = Inbox.open(settings.inbox_url).get("m").challenge()
    assert challenge.prompt == "last"
    assert challenge.messages == tuple(messages)


def test_stopped_validator_takes_nothing_new_and_remembers(client: TestClient, settings: Settings) -> None:
    assert client.post("/challenges", json=BODY).status_code == 201
    headers = {"master-hotkey": "5Abc"}
    answer = client.post("/set_running", json={"running": False}, headers=headers)
    assert answer.json() == {"success": True, "message": "Validator running status set to: False"}

    refused = client.post("/challenges", json=BODY | {"id": "c-2"})
    assert refused.status_code == 503
    assert "stopped" in refused.json()["detail"]
    assert client.get("/availability").json() == {"available": False}
    with TestClient(create_app(settings), client=("127.0.0.1", 5000)) as restarted:
        assert restarted.get("/availability/health").json()["status"] == "unhealthy"
        restarted.post("/set_running", json={"running": True}, headers=headers)
        assert restarted.post("/challenges", json=BODY | {"id": "c-2"}).status_code == 201


@pytest.mark.parametrize("path", ["/register", "/register/"])
def test_register(client: TestClient, path: str) -> None:
    for _ in range(2):
        answer = client.post(path, json={"hotkey": "5Abc"})
        assert answer.status_code == 200
        assert answer.json() == {"success": True, "message": "User with hotkey 5Abc registered successfully"}


def test_set_running_is_for_this_machine_only(settings: Settings) -> None:
    headers = {"master-hotkey": "5Abc"}
    with TestClient(create_app(settings), client=("203.0.113.9", 5000)) as stranger:
        assert stranger.post("/set_running", json={"running": False}, headers=headers).status_code == 403
    with TestClient(create_app(settings), client=("127.0.0.1", 5000)) as behind_a_proxy:
        forwarded = headers | {"x-forwarded-for": "203.0.113.9"}
        assert behind_a_proxy.post("/set_running", json={"running": False}, headers=forwarded).status_code == 403
        assert behind_a_proxy.get("/availability").json() == {"available": True}


@pytest.mark.parametrize("path", ["/availability/health", "/availability/healthz"])
def test_health_has_the_networks_shape(client: TestClient, path: str) -> None:
    client.post("/challenges", json=BODY)
    health = client.get(path).json()
    assert health["service_name"] == "loosh-inference-validator"
    assert tuple(int(part) for part in health["version"].split(".")) >= (1, 2, 8)
    assert health["status"] == "healthy"
    assert health["queue_size"] == health["processing_stats"]["queue_size"] == 1
    assert set(health["processing_stats"]) == {
        "queue_size",
        "challenge_mode",
        "active_challenges",
        "max_concurrent",
        "available_capacity",
        "semaphore_available",
    }


def test_docs_need_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_overview_shows_what_was_accepted(client: TestClient) -> None:
    assert "No challenge was accepted yet" in client.get("/").text
    client.post("/challenges", json=BODY | {"prompt": "<script>alert(1)</script>"})
    page = client.get("/").text
    assert "c-1" in page
    assert "<script>" not in page


def test_overview_shows_the_beginning_of_a_long_prompt(client: TestClient) -> None:
    for number, length in enumerate((160, 161)):
        client.post("/challenges", json={"id": f"c-{number}", "prompt": "é" * length})
    page = client.get("/").text
    assert f">{'é' * 160}<" in page
    assert f">{'é' * 159}…<" in page


@pytest.mark.parametrize("challenge_id", ["a/b", "c-1", "/", "a/b.json", "../../etc/passwd", "a b?#é"])
def test_heatmap_of_any_id_is_shown(client: TestClient, settings: Settings, challenge_id: str) -> None:
    for kind in ("png", "json"):
        (settings.heatmaps_root / f"{file_stem(challenge_id)}.{kind}").write_bytes(kind.encode())
    client.post("/challenges", json=BODY | {"id": challenge_id})
    link = f"heatmaps/{quote(challenge_id, safe='')}"
    assert client.get(f"/{link}.png").content == b"png"
    assert client.get(f"/{link}.json").content == b"json"


def padded(size: int) -> bytes:
    """An acceptable challenge of `size` bytes, most of them in a field that is ignored."""
    head, tail = b'{"id":"x","prompt":"hi","ignored":"', b'"}'
    return head + b"a" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "most"), [("/challenges", MAX_BODY_BYTES), ("/register", 16_384)])
def test_body_over_the_limit_is_413(client: TestClient, path: str, most: int, streamed: bool) -> None:
    body = padded(MAX_BODY_BYTES + 1)
    content = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if streamed else body
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert f"larger than {most} bytes" in answer.json()["detail"]
    assert client.get("/challenges/stats").json()["total_received"] == 0


def test_body_at_the_limit_is_taken(client: TestClient) -> None:
    body = padded(MAX_BODY_BYTES)
    assert client.post("/challenges", content=body, headers={"content-type": "application/json"}).status_code == 201


@pytest.mark.parametrize("stated", [str(MAX_BODY_BYTES + 1), "9" * 5000])
def test_body_that_is_stated_too_large_is_not_read(settings: Settings, stated: str) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://ingress") as http:
            return await http.post("/challenges", content=unread(), headers={"content-length": stated})

    assert asyncio.run(scenario()).status_code == 413


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "a" * 200_001}, "at most 200000 characters"),
        ({"requester": "a" * 257}, "at most 256 characters"),
        ({"metadata": {"a": "b" * 2_000_000}}, "characters of JSON; at most 2000000 characters are taken"),
    ],
)
def test_field_over_its_limit_is_422_with_the_reason(client: TestClient, fields: dict[str, Any], reason: str) -> None:
    answer = client.post("/challenges", json=BODY | fields)
    assert answer.status_code == 422
    assert reason in answer.text
    assert len(answer.content) < 1000


def test_missing_heatmap_is_404(client: TestClient) -> None:
    assert client.get("/heatmaps/none.png").status_code == 404
    assert client.get("/heatmaps/..%2f..%2fetc%2fpasswd.png").status_code == 404
