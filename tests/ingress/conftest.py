"""An ingress in the test's own process, as whoever calls it sees it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import serialized_keypair_to_keyfile_data
from fastapi.testclient import TestClient

from ingress.main import create_app
from ingress.rates import Rates
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import open_database
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key
from loosh_pipeline.wire.headers import signature_headers
from loosh_pipeline.wire.push import build_push_key_exchange
from tests.wire.peers import VALIDATOR, rsa_key

HERE = ("127.0.0.1", 5000)
AWAY = ("203.0.113.9", 5000)
KEY = new_symmetric_key()

Serve = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def one_rsa_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a key takes a tenth of a second, at every start of an ingress."""
    monkeypatch.setattr("loosh_pipeline.wire.sessions.generate_private_key", rsa_key)


@pytest.fixture(autouse=True)
def still_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for what callers may do: how many requests get through would say how busy this machine is."""
    monkeypatch.setattr(Rates.__init__, "__kwdefaults__", {"clock": lambda: 1000.0})


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases with nothing in them: bringing one up to date takes longer than most tests."""
    folder = tmp_path_factory.mktemp("databases")
    Inbox.open(f"sqlite:///{folder}/validator.db").engine.dispose()
    open_database(f"sqlite:///{folder}/users.db", "users").dispose()
    return folder


@pytest.fixture(autouse=True)
def databases(own_home: Path, empty_databases: Path) -> None:
    shutil.copytree(empty_databases, own_home, dirs_exist_ok=True)


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    """Start an ingress with these settings, called from `client`; every one of a test shares its data directory."""
    with ExitStack() as stack:

        def start(client: tuple[str, int] = AWAY, **changes: Any) -> TestClient:
            app = create_app(Settings(**changes))
            return stack.enter_context(TestClient(app, client=client, raise_server_exceptions=False))

        yield start


def body_of(challenge_id: str = "c-1", **fields: Any) -> bytes:
    return json.dumps({"id": challenge_id, "prompt": "Why is the sky blue?"} | fields).encode()


def signed(body: bytes, signer: Any = VALIDATOR, now_s: float | None = None, **changes: str) -> dict[str, str]:
    """The headers of a signed challenge."""
    headers = signature_headers(signer, body, now_s=time.time() if now_s is None else now_s)
    return {"content-type": "application/json"} | headers | {k.replace("_", "-"): v for k, v in changes.items()}


def post(client: TestClient, body: bytes, headers: Mapping[str, str]) -> Any:
    return client.post("/challenges", content=body, headers=dict(headers))


def keep_wallet(home: Path, signer: Any = VALIDATOR) -> None:
    """This validator's hotkey, of which the ingress reads the address alone."""
    file = home / "wallets" / "validator" / "hotkeys" / "validator"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"ss58Address": signer.ss58_address}))


def keep_key(home: Path, signer: Any = VALIDATOR) -> None:
    """This validator's hotkey, with which the ingress signs links."""
    keep_wallet(home, signer)
    data = serialized_keypair_to_keyfile_data(signer)
    (home / "wallets" / "validator" / "hotkeys" / "validator").write_bytes(bytes(data))


def exchange_body(client: TestClient, key_uuid: str = "u-1", signer: Any = VALIDATOR, **changes: Any) -> dict[str, Any]:
    """A key exchange for this ingress; `signer` None leaves it unsigned."""
    pem = client.get("/fiber/public-key").json()["public_key"]
    ciphertext = encrypt_symmetric_key(load_public_key(pem), KEY)
    made_s, recipient = changes.pop("made_s", time.time()), changes.pop("recipient", None)
    body = build_push_key_exchange(
        signer, key_uuid, ciphertext, timestamp_s=made_s, hotkey=VALIDATOR.ss58_address, recipient=recipient
    )
    return body | changes
