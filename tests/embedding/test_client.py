from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.embedding.address import api_root, socket_path
from loosh_pipeline.embedding.client import REQUEST_TEXTS, HttpEmbedder, requests_of
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.port import DIGEST_HEADER
from loosh_pipeline.embedding.server import create_app
from loosh_pipeline.errors import EmbedderError
from tests.embedding.conftest import Serve


@pytest.fixture
def remote(hashing_url: str) -> Iterator[HttpEmbedder]:
    with HttpEmbedder(hashing_url, timeout_s=10) as opened:
        yield opened


def test_it_is_the_servers_model(remote: HttpEmbedder) -> None:
    local = HashingEmbedder()
    assert (remote.model_id, remote.digest, remote.dim) == (local.model_id, local.digest, local.dim)
    texts = ["the sky is blue", "天空", ""]
    assert remote.embed(texts) == pytest.approx(local.embed(texts))
    assert remote.embed([]).shape == (0, 384)


def test_a_long_list_goes_out_in_parts_and_comes_back_in_order(remote: HttpEmbedder) -> None:
    texts = [f"text {i}" for i in range(2 * REQUEST_TEXTS + 5)]
    assert remote.embed(texts) == pytest.approx(HashingEmbedder().embed(texts))


@pytest.mark.parametrize("suffix", ["/", "/v1", "/v1/"])
def test_the_address_may_end_as_it_likes(hashing_url: str, suffix: str) -> None:
    with HttpEmbedder(hashing_url + suffix) as remote:
        assert remote.dim == 384


@given(st.lists(st.text(max_size=30), max_size=50), st.integers(1, 8), st.integers(1, 60))
def test_requests_hold_every_text_in_order_within_both_limits(texts: list[str], most: int, chars: int) -> None:
    parts = list(requests_of(texts, most, chars))
    assert [text for part in parts for text in part] == texts
    for part in parts:
        assert 0 < len(part) <= most
        assert len(part) == 1 or sum(map(len, part)) <= chars


def test_a_proxy_of_the_environment_is_not_used(hashing_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with HttpEmbedder(hashing_url, timeout_s=10) as remote:
        assert remote.dim == 384


def test_nobody_there_is_told_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            HttpEmbedder(url, timeout_s=0.3) as remote,
            pytest.raises(EmbedderError, match=f"cannot reach the embedder at {url}/v1"),
        ):
            remote.embed(["sky"])


def test_a_server_that_does_not_answer_is_told_with_the_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with (
            HttpEmbedder(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.1) as remote,
            pytest.raises(EmbedderError, match=r"did not answer within 0\.1 s"),
        ):
            _ = remote.digest


def test_a_server_that_is_still_loading_is_waited_for(serve: Serve) -> None:
    may_load = threading.Event()

    def load() -> HashingEmbedder:
        assert may_load.wait(10)
        return HashingEmbedder()

    url = serve(create_app(load))
    try:
        with (
            HttpEmbedder(url, timeout_s=0.3) as hasty,
            pytest.raises(EmbedderError, match=r"answered 503 to /models: .*model is being loaded"),
        ):
            hasty.embed(["sky"])
        threading.Timer(0.3, may_load.set).start()
        with HttpEmbedder(url, timeout_s=10) as patient:
            assert patient.embed(["sky"]).shape == (1, 384)
    finally:
        may_load.set()


def test_a_model_that_is_not_there_is_told_with_those_that_are(hashing_url: str) -> None:
    with (
        HttpEmbedder(hashing_url, model="ada") as remote,
        pytest.raises(EmbedderError, match="no model 'ada'; it lists hashing-test-double"),
    ):
        remote.embed(["sky"])


def scripted(embeddings: Any, cards: Any = ({"id": "m"},), status: int = 200) -> FastAPI:
    """A server that answers `embeddings` (a list, or a function of the request) whatever it is asked."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> Any:
        return JSONResponse({"data": list(cards)})

    @app.post("/v1/embeddings", response_model=None)
    async def embed(request: Request) -> Any:
        asked = await request.json()
        if isinstance(embeddings, str):
            return PlainTextResponse(embeddings, status)
        vectors = embeddings(asked["input"]) if callable(embeddings) else embeddings
        data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        return JSONResponse({"data": data[::-1]}, status)

    return app


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


def test_a_server_that_states_no_digest_and_speaks_plain_numbers_will_do(serve: Serve) -> None:
    url = serve(scripted(lambda texts: [[1.0, 0.0] if "blue" in text else [0.0, 1.0] for text in texts]))
    with HttpEmbedder(url) as remote:
        assert remote.embed(["blue", "red"]).tolist() == [[1, 0], [0, 1]]
        assert remote.dim == 2
        assert len(remote.digest) == 64


def test_a_foreign_digest_tells_servers_and_models_apart(serve: Serve) -> None:
    def digest(url: str, model: str) -> str:
        with HttpEmbedder(url, model=model) as remote:
            return remote.digest

    one, other = (serve(scripted([[1.0, 0.0]], [{"id": "a"}, {"id": "b"}])) for _ in range(2))
    digests = {digest(one, "a"), digest(one + "/v1/", "a"), digest(one, "b"), digest(other, "a")}
    assert len(digests) == 3
    assert hashlib.sha256(f"{one}/v1\na".encode()).hexdigest() in digests


def test_a_server_that_lists_no_models_is_asked_for_the_one_named(serve: Serve) -> None:
    app = scripted([[1.0, 0.0]])
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != "/v1/models"]
    url = serve(app)
    with HttpEmbedder(url, model="m") as named:
        assert (named.model_id, named.embed(["sky"]).tolist()) == ("m", [[1.0, 0.0]])
    with HttpEmbedder(url) as unnamed, pytest.raises(EmbedderError, match="answered 404 to /models"):
        unnamed.embed(["sky"])


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [
        ([packed(3.0, 4.0)], r"not finite and of length 1 \(lengths 5 to 5\)"),
        ([packed(float("nan"), 1.0)], "not finite"),
        ([packed(1.0, 0.0)] * 2, "answered 2 vectors to 1 texts"),
        ([], "answered 0 vectors to 1 texts"),
        (["not base64!"], "no readable embeddings"),
        ([packed(1.0), packed(1.0, 0.0)], "no readable embeddings"),
        ("<html>", "answered no JSON"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(serve: Serve, embeddings: Any, said: str) -> None:
    with (
        HttpEmbedder(serve(scripted(embeddings, [{"id": "m", "dim": 2}]))) as remote,
        pytest.raises(EmbedderError, match=said),
    ):
        remote.embed(["sky"])


def test_vectors_of_another_width_than_stated_are_refused(serve: Serve) -> None:
    url = serve(scripted([packed(1.0, 0.0)], [{"id": "m", "dim": 3}]))
    with HttpEmbedder(url) as remote, pytest.raises(EmbedderError, match="width 2 instead of 3"):
        remote.embed(["sky"])


def test_an_error_of_the_server_is_passed_on(serve: Serve) -> None:
    url = serve(scripted("out of memory", status=500))
    with HttpEmbedder(url) as remote, pytest.raises(EmbedderError, match="answered 500 to /embeddings: out of memory"):
        remote.embed(["sky"])


@pytest.mark.parametrize("where", ["body", "header", "nowhere"])
def test_vectors_of_another_model_than_the_one_asked_about_are_refused(serve: Serve, where: str) -> None:
    """As after a restart of the server between two requests."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> Any:
        return {"data": [{"id": "m", "dim": 2, "digest": "d1"}]}

    @app.post("/v1/embeddings")
    def embed() -> Any:
        content = {"data": [{"index": 0, "embedding": [1.0, 0.0]}], **({"digest": "d2"} if where == "body" else {})}
        return JSONResponse(content, headers={DIGEST_HEADER: "d2"} if where == "header" else {})

    with HttpEmbedder(serve(app)) as remote:
        states = "none" if where == "nowhere" else "d2"
        with pytest.raises(EmbedderError, match=f"another model now: its answer states digest {states}, .* with d1"):
            remote.embed(["sky"])
        assert remote.digest == "d1"
        assert remote.stale


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    answers = iter([("7", 429), (None, 503), ("soon", 429)])
    app = scripted([[1.0, 0.0]])

    @app.middleware("http")
    async def busy(request: Request, go_on: Any) -> Any:
        if request.url.path.endswith("/embeddings") and (turn := next(answers, None)):
            return JSONResponse({}, turn[1], {"Retry-After": turn[0]} if turn[0] else {})
        return await go_on(request)

    with HttpEmbedder(serve(app)) as remote:
        assert remote.embed(["sky"]).tolist() == [[1.0, 0.0]]
    assert [pause for pause in pauses if pause >= 0.25] == [5.0, 0.25, 0.25]


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://e:1", "http://e:1/v1"),
        ("https://e/v1/", "https://e/v1"),
        ("unix:///run/a%20b.sock", "http://embedder/v1"),
    ],
)
def test_the_api_is_under_an_address_or_on_a_socket(url: str, root: str) -> None:
    assert api_root(url) == root
    assert socket_path(url) == ("/run/a b.sock" if url.startswith("unix") else None)


def test_a_server_that_says_the_key_back_puts_it_nowhere(serve: Serve) -> None:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    def refuse(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{'x' * 270} not with {dict(request.headers)}", status_code=401)

    with (
        HttpEmbedder(serve(app), model="m", api_key="c4nary-embedding-key") as remote,
        pytest.raises(EmbedderError, match="answered 401") as refused,
    ):
        remote.embed(["sky"])
    assert "c4nary" not in str(refused.value)
