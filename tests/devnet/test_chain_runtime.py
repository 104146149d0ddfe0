from __future__ import annotations

import pytest

from loosh_pipeline.devnet.chain import runtime as runtime_module
from loosh_pipeline.devnet.chain.runtime import RUNTIMES, SPEC_VERSIONS, load_runtime
from loosh_pipeline.errors import DevnetError
from tests.devnet.chain_client import new_chain


def test_the_recorded_runtime_lacks_what_the_current_one_has() -> None:
    assert load_runtime("current").item("SubtensorModule", "SubnetEpochConsensus").name == "SubnetEpochConsensus"
    with pytest.raises(KeyError):
        load_runtime("recorded").item("SubtensorModule", "SubnetEpochConsensus")


def test_another_runtime_is_another_chain() -> None:
    assert new_chain(runtime="recorded").genesis.hash != new_chain().genesis.hash
    assert new_chain().genesis.hash == new_chain().genesis.hash
    assert new_chain(salt=b"another").genesis.hash != new_chain().genesis.hash


def test_each_runtime_answers_its_own_version_and_is_another_chain() -> None:
    chains = {name: new_chain(runtime=name) for name in RUNTIMES}
    assert {name: chain.runtime.spec_version for name, chain in chains.items()} == dict(SPEC_VERSIONS)
    assert len({chain.genesis.hash for chain in chains.values()}) == len(RUNTIMES)
    with pytest.raises(DevnetError, match="there is no runtime 'newest'; there are recorded439, recorded, current"):
        new_chain(runtime="newest")


def test_a_runtime_told_another_version_is_another_runtime() -> None:
    assert (
        load_runtime("current", 462).code_hash
        != load_runtime("current").code_hash
        == load_runtime("current", 461).code_hash
    )


def test_keys_are_those_of_a_recorded_node() -> None:
    current = load_runtime()
    now = current.key(current.item("Timestamp", "Now"), [])
    assert now.hex() == "f0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb"


def test_altered_metadata_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = runtime_module._V15
    monkeypatch.setattr(runtime_module, "_V15", (name, "00" * 32))
    with pytest.raises(DevnetError, match=rf"{name} is altered: sha256 03258885"):
        load_runtime.__wrapped__("current")
