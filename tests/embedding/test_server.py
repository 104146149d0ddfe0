from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loosh_pipeline.embedding import __main__ as program
from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.onnx_model import OnnxEmbedder
from loosh_pipeline.embedding.port import DIGEST_HEADER, Rows
from loosh_pipeline.embedding.server import Limits, create_app
from loosh_pipeline.embedding.torch_model import TorchEmbedder
from loosh_pipeline.errors import ModelError
from tests.embedding.conftest import Serve

TEXTS = ["the sky is blue", "blue is the sky", "trains run on rails"]


def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=10)


@pytest.fixture
def client(hashing_url: str) -> Iterator[openai.OpenAI]:
    with openai_client(hashing_url) as opened:
        yield opened


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_the_openai_client_gets_the_models_vectors(client: openai.OpenAI, encoding: str) -> None:
    reply = client.embeddings.create(model=HashingEmbedder.model_id, input=TEXTS, encoding_format=encoding)
    rows = [
        np.frombuffer(base64.b64decode(item.embedding), "<f4") if isinstance(item.embedding, str) else item.embedding
        for item in reply.data
    ]
    assert np.array(rows, dtype=np.float32) == pytest.approx(HashingEmbedder().embed(TEXTS))
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert (reply.model, reply.usage.prompt_tokens, reply.usage.total_tokens) == (HashingEmbedder.model_id, 12, 12)


def test_one_text_may_come_without_a_list(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model=HashingEmbedder.model_id, input="sky").data) == 1


def test_models_and_health_state_the_digest(client: openai.OpenAI, hashing_url: str) -> None:
    card = client.models.list().data[0]
    assert card.id == HashingEmbedder.model_id
    health = httpx.get(f"{hashing_url}/health")
    assert health.json() == {
        "status": "ok",
        "model": HashingEmbedder.model_id,
        "digest": HashingEmbedder().digest,
        "dim": 384,
        "backend": "hashing",
    }


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"input": []}, "input", "empty list"),
        ({"input": [[1, 2]]}, "input", "string or a list of strings"),
        ({"input": 7}, "input", "string or a list of strings"),
        ({"input": "sky", "dimensions": 12}, "dimensions", "384 dimensions, not 12"),
        ({"input": "sky", "encoding_format": "hex"}, "encoding_format", "float"),
        ({"input": ["sky"] * 2049}, "input", "2049 texts exceed the limit of 2048"),
        ({}, "input", "input"),
    ],
)
def test_what_cannot_be_served_is_a_400_of_openais_shape(
    hashing_url: str, asked: dict[str, object], param: str, said: str
) -> None:
    reply = httpx.post(f"{hashing_url}/v1/embeddings", json={"model": HashingEmbedder.model_id, **asked})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert said in error["message"]


def test_a_body_that_is_no_json_is_a_400(hashing_url: str) -> None:
    reply = httpx.post(f"{hashing_url}/v1/embeddings", content=b'{"input": "\\ud800')
    assert reply.status_code == 400
    assert "body" in reply.json()["error"]["message"]


def test_the_openai_client_knows_the_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model 'ada' here"):
        client.embeddings.create(model="ada", input="sky")
    with pytest.raises(openai.BadRequestError, match="empty list"):
        client.embeddings.create(model=HashingEmbedder.model_id, input=[])


def test_size_is_bounded_in_characters_and_in_bytes(serve: Serve) -> None:
    limits = Limits(texts=8, chars=100)
    url = serve(create_app(HashingEmbedder, limits))
    wait_until_healthy(url)
    assert httpx.post(f"{url}/v1/embeddings", json={"input": "é" * 100}).status_code == 200
    long = httpx.post(f"{url}/v1/embeddings", json={"input": ["a" * 60, "a" * 41]})
    assert (long.status_code, long.json()["error"]["code"]) == (413, "too_large")
    huge = httpx.post(f"{url}/v1/embeddings", content=iter([b"x" * 1000] * 20))
    assert huge.status_code == 413
    assert f"{limits.body_bytes} bytes" in huge.json()["error"]["message"]


def wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/health").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_refuses_until_the_model_is_loaded(serve: Serve) -> None:
    may_load = threading.Event()

    def load() -> HashingEmbedder:
        assert may_load.wait(10)
        return HashingEmbedder()

    url = serve(create_app(load))
    try:
        for reply in (httpx.get(f"{url}/health"), httpx.post(f"{url}/v1/embeddings", json={"input": "sky"})):
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    finally:
        may_load.set()
    wait_until_healthy(url)


def test_it_says_why_the_model_could_not_be_loaded(serve: Serve) -> None:
    def load() -> HashingEmbedder:
        raise ModelError("weights altered")

    app = create_app(load)
    url = serve(app)
    app.state.worker.loading.exception(timeout=10)
    reply = httpx.get(f"{url}/health")
    assert reply.status_code == 500
    assert "weights altered" in reply.json()["error"]["message"]


class SlowEmbedder(HashingEmbedder):
    """Answers only when told to, and notes whether two threads ever ran it at once."""

    def __init__(self) -> None:
        super().__init__(8)
        self.started, self.go_on = threading.Event(), threading.Event()
        self.running, self.overlapped = 0, False

    def embed(self, texts: Sequence[str]) -> Rows:
        self.running += 1
        self.overlapped |= self.running > 1
        self.started.set()
        assert self.go_on.wait(10)
        self.running -= 1
        return super().embed(texts)


def test_requests_queue_for_one_thread_and_too_many_are_refused(serve: Serve) -> None:
    slow = SlowEmbedder()
    url = serve(create_app(lambda: slow, Limits(waiting=2)))
    wait_until_healthy(url)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.post(f"{url}/v1/embeddings", json={"input": "sky"}, timeout=10).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 10
        while len(statuses) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert slow.started.is_set()
        assert statuses == [429, 429]
        assert httpx.get(f"{url}/health").status_code == 200  # the event loop is free meanwhile
    finally:
        slow.go_on.set()
        for thread in threads:
            thread.join(10)
    assert sorted(statuses) == [200, 200, 429, 429]
    assert not slow.overlapped


def post_in_background(url: str, texts: list[str], replies: list[httpx.Response]) -> threading.Thread:
    def ask() -> None:
        replies.append(httpx.post(f"{url}/v1/embeddings", json={"input": texts}, timeout=10))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("limits", [Limits(waiting_texts=3), Limits(waiting_chars=20)])
def test_how_much_may_wait_is_bounded_by_texts_and_characters(serve: Serve, limits: Limits) -> None:
    slow = SlowEmbedder()
    url = serve(create_app(lambda: slow, limits))
    wait_until_healthy(url)
    replies: list[httpx.Response] = []
    waiting = post_in_background(url, ["twelve chars", "b"], replies)
    try:
        assert slow.started.wait(10)
        refused = httpx.post(f"{url}/v1/embeddings", json={"input": ["nine char", "d"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
        assert "1 requests with 2 texts of 13 characters wait" in refused.json()["error"]["message"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 30
        small = post_in_background(url, ["e"], replies)
    finally:
        slow.go_on.set()
        waiting.join(10)
    small.join(10)
    assert [reply.status_code for reply in replies] == [200, 200]
    assert not slow.overlapped


def test_who_leaves_while_waiting_is_not_embedded(serve: Serve) -> None:
    slow = SlowEmbedder()
    app = create_app(lambda: slow)
    url = serve(app)
    wait_until_healthy(url)
    replies: list[httpx.Response] = []
    first = post_in_background(url, ["first"], replies)
    try:
        assert slow.started.wait(10)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/embeddings", json={"input": "nobody waits for this"}, timeout=0.2)
        deadline = time.monotonic() + 10
        while app.state.worker.waiting()[0] > 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        slow.go_on.set()
        first.join(10)
    assert replies[0].status_code == 200
    assert slow.calls == [("first",)]


class Fragile(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> Rows:
        if any("poison" in text for text in texts):
            raise RuntimeError("bad text")
        if any("death" in text for text in texts):
            raise SystemExit("gone")
        return super().embed(texts)


def test_a_text_that_cannot_be_embedded_is_told_to_who_sent_it(serve: Serve) -> None:
    url = serve(create_app(Fragile))
    wait_until_healthy(url)
    reply = httpx.post(f"{url}/v1/embeddings", json={"input": ["sky", "poison"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "not_embedded")
    assert "a text of 6 characters could not be embedded: bad text" in reply.json()["error"]["message"]
    assert httpx.post(f"{url}/v1/embeddings", json={"input": "sky"}).status_code == 200


def test_without_its_thread_the_server_is_unhealthy(serve: Serve) -> None:
    url = serve(create_app(Fragile))
    wait_until_healthy(url)
    for reply in (httpx.post(f"{url}/v1/embeddings", json={"input": "death"}), httpx.get(f"{url}/health")):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_broken")
        assert "gone" in reply.json()["error"]["message"]


def test_every_answer_states_the_digest(hashing_url: str) -> None:
    digest = HashingEmbedder().digest
    ask = {"input": "sky"}
    told = [
        httpx.post(f"{hashing_url}/v1/embeddings", json=ask),
        httpx.get(f"{hashing_url}/v1/models"),
        httpx.get(f"{hashing_url}/health"),
        httpx.post(f"{hashing_url}/v1/embeddings", json={**ask, "model": "ada"}),
    ]
    assert [reply.headers[DIGEST_HEADER] for reply in told] == [digest] * 4
    assert told[0].json()["digest"] == digest


def test_the_real_model_over_the_wire_gives_the_same_vectors(serve: Serve, model: TorchEmbedder) -> None:
    url = serve(create_app(lambda: model))
    wait_until_healthy(url)
    with HttpEmbedder(url) as remote, openai_client(url) as client:
        assert (remote.digest, remote.dim) == (model.digest, 384)
        assert np.abs(remote.embed(TEXTS) - model.embed(TEXTS)).max() < 1e-6
        reply = client.embeddings.create(model=remote.model_id, input=TEXTS)
        assert np.array([item.embedding for item in reply.data]) == pytest.approx(model.embed(TEXTS), abs=1e-6)
        assert reply.usage.prompt_tokens == model.count_tokens(TEXTS)


def test_requests_at_once_get_the_bits_of_each_alone(serve: Serve, onnx_model: OnnxEmbedder) -> None:
    url = serve(create_app(lambda: onnx_model))
    wait_until_healthy(url)
    asked = [[f"{text} And so on, {i} times. " * (1 + i % 3) for text in TEXTS] for i in range(8)]
    with HttpEmbedder(url) as remote, ThreadPoolExecutor(8) as clients:
        found = list(clients.map(remote.embed, asked))
    for texts, rows in zip(asked, found, strict=True):
        assert (rows == onnx_model.embed(texts)).all()


def test_the_process_ends_with_the_reason_when_its_model_is_unusable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(name: str, backend: str, threads: int, _: Path) -> TorchEmbedder:
        raise ModelError(f"weights of {name} altered, {backend} on {threads} threads")

    monkeypatch.setattr(program, "load_model", load)
    monkeypatch.setattr(program, "configure", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["embedding", "--port", "0", "--threads", "3"])
    assert program.main() == 1
    assert "the embedder ends: weights of builtin altered, auto on 3 threads" in caplog.text


def test_figures_are_told_to_prometheus(serve: Serve) -> None:
    url = serve(create_app(HashingEmbedder))
    wait_until_healthy(url)
    with HttpEmbedder(url) as remote:
        remote.embed(["sky", "sea"])
    answer = httpx.get(f"{url}/metrics", trust_env=False)
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {sample.name: sample.value for sample in samples}
    assert (found["loosh_embedder_ready"], found["loosh_embedder_texts_total"]) == (1, 2)
    assert found["loosh_embedder_waiting_requests"] == found["loosh_embedder_waiting_texts"] == 0
    (model,) = (sample.labels for sample in samples if sample.name == "loosh_embedder_model_info")
    assert model["digest"] == HashingEmbedder().digest
