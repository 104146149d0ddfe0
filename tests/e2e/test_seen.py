"""What a validator lets be seen of itself while much goes wrong: logs, metrics, alerts; and no secret in any of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loosh_pipeline.chain.wallet import hotkey_file
from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.processes import processes_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.api_calls import CALLS
from tests.alerting.receiver import Receiver
from tests.e2e.processes import ingress_pid, kill, of_nobody
from tests.e2e.validator import Validator, running_validator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CANARY = "c4nary"
"""No word of the embedding model's vocabulary."""
PUSH_KEY = "c4nary-challenge-push-api-key"
LINE = {"time", "level", "process", "logger", "message"}
WHOLE = ("ingress", "worker", "upkeep", "code-server", "dagster-webserver", "dagster-daemon", "alerts", "embedder")


@contextmanager
def echoing() -> Iterator[str]:
    """An LLM that refuses, and says back whatever it was sent with, as careless servers do."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            body = f"not with {dict(self.headers)} {asked.decode('utf-8', 'replace')[:200]}".encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Validator]:
    """A validator whose every secret setting is a canary, after it has seen every neighbour fail."""
    home = tmp_path_factory.mktemp("seen")

    def secrets(devnet: DevnetInfo) -> Mapping[str, Any]:
        return {
            "subtensor_address": f"{devnet.chain_url}/c4nary-chain-key-1234567890?key=c4nary-chain-query",
            "subtensor_fallbacks": ("ws://user:c4nary-fallback-password@127.0.0.1:1/",),
            "challenge_api_key": "c4nary-challenge-api-key",
            "challenge_push_api_key": PUSH_KEY,
            "llm_api_url": llm,
            "llm_api_key": "c4nary-llm-api-key",
            "llm_model": "any",
            "alert_webhook_url": receiver.url,
            "log_format": "json",
            "log_file": home / "logs" / "together.log",
            "metagraph_refresh_s": 10.0,
            "max_run_attempts": 1,
        }

    with of_nobody(home), echoing() as llm, running_validator(home, secrets) as validator:
        provoke(validator)
        yield validator
    assert list(processes_of(home)) == []


def provoke(validator: Validator) -> None:
    """One challenge that goes well, one that is refused for good, one whose embedder is away, and no chain."""
    path = CALLS[DeliveryKind.RESPONSE_BATCH].path
    refused = {"path": path, "turns": [{"status": 500}, {"status": 401}, {"status": 401}, {"status": 422}]}
    for key, expected in (("c4nary-wrong-key", 401), (PUSH_KEY, 201)):
        pushed = {"id": f"pushed-{expected}", "prompt": validator.devnet.prompts[0]}
        headers = {"authorization": f"Bearer {key}", "x-forwarded-for": "203.0.113.9"}
        assert validator.http.post("/challenges", json=pushed, headers=headers).status_code == expected
    validator.reaches(ChallengeId("pushed-201"), ChallengeState.SUBMITTED)
    switches = f"{validator.devnet.challenge_api_url}/switches"
    httpx.post(switches, json=refused, trust_env=False).raise_for_status()
    validator.accept("refused", prompt=1)
    validator.until("the refusal of a result", lambda: validator.http.get("/metrics").text.count('state="parked"'))
    chain = validator.devnet.chain_url.replace("ws://", "http://", 1)
    httpx.get(f"{chain}/switch?fault=refuse_connections&on=1", trust_env=False).raise_for_status()
    validator.until(
        "a failed run of refresh_metagraph", lambda: _said(validator, "upkeep", "refresh_metagraph", "error")
    )
    kill(ingress_pid(validator.settings.home))
    validator.until("the ingress answers again", validator.answers)


def _said(validator: Validator, process: str, *words: str) -> bool:
    log = validator.settings.home / "logs" / f"{process}.log"
    return any(all(word in line for word in words) for line in log.read_text().splitlines())


def lines(validator: Validator, name: str) -> list[dict[str, Any]]:
    text = (validator.settings.home / "logs" / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", [*WHOLE, "together"])
def test_every_line_of_every_log_is_json(troubled: Validator, name: str) -> None:
    found = lines(troubled, name)
    assert all(set(line) >= LINE for line in found)
    assert {line["process"] for line in found} == ({name} if name != "together" else set(WHOLE))


def test_lines_of_a_worker_name_challenge_run_and_attempt(troubled: Validator) -> None:
    about = [line for line in lines(troubled, "worker") if line.get("challenge_id") == "refused"]
    assert about
    assert {line["attempt"] for line in about} == {"1"}
    (run_id,) = {line["run_id"] for line in about}
    launched = [line for line in lines(troubled, "ingress") if line.get("run_id") == run_id]
    assert [line["challenge_id"] for line in launched] == ["refused"]


def test_no_prompt_and_no_answer_is_logged(troubled: Validator) -> None:
    texts = [prompt for prompt in troubled.devnet.prompts if len(prompt) > 20]
    tables = (troubled.settings.home / "tables" / "miner_responses").rglob("*.parquet")
    texts += [text for table in tables for text in pl.read_parquet(table)["text"] if text and len(text) > 20]
    logged = (troubled.settings.home / "logs" / "together.log").read_text()
    assert len(texts) > 5
    assert [text[:60] for text in texts if json.dumps(text[:40])[1:-1] in logged] == []


def test_metrics_say_what_happened(troubled: Validator) -> None:
    text = troubled.http.get("/metrics").raise_for_status().text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(each.name, *sorted(each.labels.values())): each.value for each in samples}
    assert found["loosh_deliveries", "parked", "response_batch"] == 1
    assert found["loosh_challenges_accepted_total",] == 2
    assert found["loosh_embedder_up",] == found["loosh_embedder_ready",] == 1
    assert found["loosh_embedder_texts_total",] > 10
    assert found["loosh_registered",] == 1
    assert {each.labels["service"] for each in samples if each.name == "loosh_service_memory_bytes"} == set(WHOLE)


def test_alerts_arrive_once(troubled: Validator, receiver: Receiver) -> None:
    wanted = ("refused by the Challenge", "refresh_metagraph")

    def both() -> bool:
        return all(any(what in text for text in receiver.texts) for what in wanted)

    troubled.until("alerts of the refusal and of the failed run", both)
    assert sum(text.count("(warning) 1 deliveries of kind response_batch") for text in receiver.texts) == 1


def test_no_secret_is_anywhere(troubled: Validator, receiver: Receiver) -> None:
    """In logs, Dagster's storage, databases and tables, on pages and in alerts."""
    seed = _seed(troubled.settings)
    pages = [troubled.http.get(path).text for path in ("/metrics", "/availability/health", "/", "/stats")]
    home = troubled.settings.home
    wallets = Path(troubled.devnet.wallet_path)
    files = [path for path in home.rglob("*") if path.is_file() and wallets not in path.parents]
    assert len(files) > 30
    looked_at = {str(path.relative_to(home)): _content(path) for path in files}
    looked_at |= {"pages": "".join(pages).encode(), "alerts": "".join(receiver.texts).encode()}
    holding = [name for name, content in looked_at.items() if CANARY.encode() in content or seed.encode() in content]
    assert holding == [], {name: _around(looked_at[name], CANARY.encode()) for name in holding}


def _seed(settings: Settings) -> str:
    stored = json.loads(hotkey_file(settings.wallet_path, settings.wallet_name, settings.hotkey_name).read_bytes())
    return str(stored["secretSeed"]).removeprefix("0x")


def _content(path: Path) -> bytes:
    """What a file says: of a table its values, which are compressed."""
    if path.suffix == ".parquet":
        return str(pl.read_parquet(path).to_dicts()).encode()
    return path.read_bytes()


def _around(content: bytes, what: bytes) -> bytes:
    at = content.find(what)
    return content[max(0, at - 200) : at + 200]
