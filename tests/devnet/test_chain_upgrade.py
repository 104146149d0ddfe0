"""An upgrade of a running chain, as the real SDK sees it from process to process."""

from __future__ import annotations

from pathlib import Path

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.settings import Settings
from tests.chain.conftest import serve_in_thread
from tests.devnet.chain_client import NETUID, VALIDATOR, execute, new_chain, weights_call


def test_the_sdk_sees_every_upgrade_and_reads_on(tmp_path: Path) -> None:
    chain = new_chain(runtime="recorded439", rate_limit_blocks=0)
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"
    seen = []
    with serve_in_thread(chain) as address:
        client = ProcessChain(
            Settings(_env_file=None, loosh_home=tmp_path, netuid=NETUID, subtensor_address=f"ws://{address}")
        )
        for name in ("recorded", "current", None):
            snapshot = client.snapshot(NETUID)
            seen.append(snapshot.spec_version)
            assert snapshot.by_hotkey()[VALIDATOR.ss58_address].last_update == 1
            if name is not None:
                chain.upgrade(name)
    assert seen == [439, 461, 462]
