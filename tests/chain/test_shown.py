"""What a provider knows us by stands in its address, and in nothing that anybody sees or that is stored."""

from __future__ import annotations

import json
import logging
import socket
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loosh_pipeline.chain import process
from loosh_pipeline.chain.conversation import Conversation
from loosh_pipeline.chain.endpoints import hushed, shown
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.chain_status import facts, standing_table, stored_standing
from loosh_pipeline.domain import Block, Hotkey, Mode, Proposal
from loosh_pipeline.errors import ChainError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weight_frames import write_submission
from loosh_pipeline.weight_setting import Desk, lease_length, set_weights
from tests.builders import metagraph, neuron

SECRETS = ("pa55phrase", "0123456789abcdef", "t0ken-of-ours")
KEYED = "ws://me:pa55phrase@127.0.0.1:{}/v1/0123456789abcdef?apikey=t0ken-of-ours"


@pytest.mark.parametrize(
    ("address", "is_shown"),
    [
        ("wss://entrypoint-finney.opentensor.ai:443", "wss://entrypoint-finney.opentensor.ai:443"),
        (KEYED.format(9944), "ws://127.0.0.1:9944"),
        ("wss://[2620:fe::fe]/secret", "wss://[2620:fe::fe]"),
        ("wss://host:notaport/secret", "an endpoint that is no URL"),
        ("wss:///secret", "an endpoint without a host"),
    ],
)
def test_scheme_host_and_port_are_shown(address: str, is_shown: str) -> None:
    assert shown(address) == is_shown


def test_whatever_is_quoted_of_an_address_is_hushed() -> None:
    address = KEYED.format(9944).replace("t0ken-of-ours", "t0ken%2Dof%2Dours")
    said = f"{address} refused GET /v1/0123456789abcdef (key t0ken-of-ours, t0ken%2Dof%2Dours) of me:pa55phrase"
    assert hushed(said, address) == "ws://127.0.0.1:9944 refused GET /v1/… (key …, …) of me:…"
    assert hushed("ws is said often", "wss://host/ws") == "ws is said often"


@pytest.fixture(params=["refusing", "silent", "dying"])
def keyed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An endpoint that fails, in one of three ways."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = KEYED.format(server.getsockname()[1])
        if request.param == "refusing":
            server.close()
        if request.param == "dying":  # its last words begin in the midst of the address
            command, start = [sys.executable, "-c", f"import sys; sys.stderr.write('{address} ' * 40)"], Conversation
            monkeypatch.setattr(process, "Conversation", lambda _, environment: start(command, environment))
        yield address


def test_no_error_log_record_row_table_or_status_holds_a_key(
    keyed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = create_wallet(tmp_path / "wallets", "validator", "validator")
    settings = Settings(
        loosh_home=tmp_path / "home",
        wallet_path=tmp_path / "wallets",
        subtensor_address=keyed,
        subtensor_fallbacks=(keyed + "2",),
        chain_timeout_s=1.0,
    )
    caplog.set_level(logging.DEBUG)
    seen = [*told_by_reading(settings), *told_by_submitting(settings, wallet.hotkey), caplog.text]
    assert "ws://127.0.0.1:" in seen[0]
    for secret in SECRETS:
        assert not [each for each in seen if secret in each]
        assert not [file for file in tmp_path.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def told_by_reading(settings: Settings) -> Iterator[str]:
    with pytest.raises(ChainError) as reading:
        ProcessChain(settings).snapshot(78)
    yield "".join(traceback.format_exception(reading.value))
    engine = Inbox.open(settings.inbox_url).engine
    standing = stored_standing(settings, engine, datetime.now(UTC))
    yield json.dumps(facts(standing, settings))
    yield str(standing_table(standing, settings).title)
    engine.dispose()


def told_by_submitting(settings: Settings, own: Hotkey) -> Iterator[str]:
    engine, now = Inbox.open(settings.inbox_url).engine, datetime.now(UTC)
    lease = Leases(engine).take(LEASE, "test", now, lease_length(settings))
    tables, kept = Tables(settings.tables_root), list[SubmissionRow]()

    def keep(row: SubmissionRow) -> None:
        kept.append(row)
        write_submission(tables, row)

    subnet = metagraph((neuron(0, hotkey=own, validator_permit=True), neuron(1)))
    proposal = Proposal(now, Block(1), Mode.NORMAL, "robust", "lookback", 1, {Hotkey("hotkey-1"): 1.0})
    desk = Desk(ProcessChain(settings), Submissions(engine), lease, keep)
    with pytest.raises(ChainError) as submitting:
        set_weights(desk, subnet, own, lambda: proposal)
    yield "".join(traceback.format_exception(submitting.value))
    yield from (row.reason for row in kept)
    engine.dispose()
