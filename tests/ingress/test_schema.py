"""schemathesis over what the ingress says of itself: whatever is sent, nothing is answered with 500."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from schemathesis.generation import GenerationMode

from ingress.main import create_app
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.headers import LINK_HEADER
from tests.ingress.conftest import HERE
from tests.wire.peers import rsa_key

OPERATIONS = (
    ("POST", "/challenges"),
    ("GET", "/challenges/stats"),
    ("GET", "/fiber/public-key"),
    ("POST", "/fiber/key-exchange"),
    ("POST", "/fiber/challenge"),
    ("GET", "/fiber/stats"),
    ("GET", "/availability"),
    ("GET", "/availability/health"),
    ("GET", "/audit/seals"),
    ("GET", "/audit/seals/{number}"),
    ("POST", "/register/"),
    ("GET", "/stats"),
    ("POST", "/set_running"),
)
few = bounded(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loosh_pipeline.wire.sessions.generate_private_key", rsa_key)
        # A stranger of schemathesis is a program here, or everything ends at the door; rates are tried elsewhere.
        settings = Settings(loosh_home=tmp_path_factory.mktemp("schema"), _env_file=None, intake_rate_per_address=1e6)
        with TestClient(create_app(settings), client=HERE) as client:
            yield client


@pytest.fixture(scope="module")
def schema(client: TestClient) -> Any:
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


def sent(client: TestClient, case: schemathesis.Case) -> Any:
    """Send a case as it is, past the checks of a client that wants to help."""
    kwargs: Mapping[str, Any] = case.as_transport_kwargs(base_url="http://testserver")
    headers = {name: str(value).encode("utf-8", "replace") for name, value in dict(kwargs["headers"]).items()}
    body = {"json": kwargs["json"]} if kwargs.get("json") is not None else {"content": kwargs.get("data")}
    return client.request(kwargs["method"], kwargs["url"], params=kwargs.get("params"), headers=headers, **body)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in GenerationMode
        if method == "POST" or mode is GenerationMode.POSITIVE  # nothing about a plain GET can be wrong
    ],
)
def test_nothing_is_answered_with_500(
    client: TestClient, schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    client.post("/set_running", json={"running": True}, headers={"master-hotkey": "5Operator"})

    @few
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        answer = sent(client, case)
        assert answer.status_code < 500, answer.text

    check()


def test_every_operation_is_tried(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == set(OPERATIONS)


def test_the_schema_says_what_a_challenge_is(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/challenges"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["id"]
    assert {"201", "401", "403", "409", "413", "415", "422", "429", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("path", ["/challenges", "/fiber/challenge"])
def test_the_schema_says_what_comes_with_an_acceptance(client: TestClient, path: str) -> None:
    answers = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    said = answers["201"]
    assert LINK_HEADER in answers["409"]["headers"]
    pattern = said["headers"][LINK_HEADER]["schema"]["pattern"]
    assert re.fullmatch(pattern, f"7:{'a' * 64}")
    assert re.fullmatch(pattern, f"7:{'a' * 64}:{'b' * 128}")
    assert not re.fullmatch(pattern, f"7:{'a' * 64}:{'b' * 64}")
    assert said["content"]["application/json"]["schema"], "and the body is described beside it"
