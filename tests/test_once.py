"""What runs share is made once in a process, and a forked child makes its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import bittensor_core
import dagster as dg
import pytest

from loosh_pipeline.chain.wallet import hotkey_file
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from resources.chain import process_signer
from resources.challenge_api import process_challenge_api
from resources.once import Once
from resources.store import process_store, store_resource
from tests.claims import claim


def test_it_is_made_once_whoever_asks_and_anew_for_other_settings() -> None:
    made: list[Settings] = []
    once = Once(lambda settings: (made.append(settings), object())[1])
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: once(Settings(netuid=1)), range(32)))) == 1
    assert once(Settings(netuid=2)) is once(Settings(netuid=2))
    assert [settings.netuid for settings in made] == [1, 2]


def test_it_is_made_anew_when_what_it_was_made_of_has_changed() -> None:
    stamps = [None, 1, 1, 2]
    once = Once(lambda _: object(), lambda _: stamps.pop(0))
    found = [once(Settings()) for _ in range(4)]
    assert [found.index(each) for each in found] == [0, 1, 1, 3]


def test_a_hotkey_that_was_replaced_signs_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(wallet_path=tmp_path, wallet_name="w", hotkey_name="h", challenge_api_url="http://127.0.0.1:1")
    file = hotkey_file(tmp_path, "w", "h")
    file.parent.mkdir(parents=True)
    with pytest.raises(ConfigError):
        process_signer(settings)
    keys = [bittensor_core.Keypair.create_from_uri(f"//{name}") for name in ("One", "Two")]
    file.write_bytes(bittensor_core.serialized_keypair_to_keyfile_data(keys[0]))
    signers, apis = [process_signer(settings)], [process_challenge_api(settings)]
    assert process_signer(settings) is signers[0]
    assert process_challenge_api(settings) is apis[0]
    new = file.with_name("new")
    new.write_bytes(bittensor_core.serialized_keypair_to_keyfile_data(keys[1]))
    new.replace(file)
    signers.append(process_signer(settings))
    apis.append(process_challenge_api(settings))
    assert [signer.ss58_address for signer in signers] == [key.ss58_address for key in keys]
    assert apis[0] is not apis[1]


def test_what_cannot_be_made_is_tried_again() -> None:
    tries: list[int] = []

    def make(settings: Settings) -> int:
        tries.append(settings.netuid)
        return 1 // (len(tries) - 1)

    once = Once(make)
    with pytest.raises(ZeroDivisionError):
        once(Settings())
    assert once(Settings()) == 1


def test_runs_of_a_process_share_one_open_store(own_home: Path) -> None:
    with dg.build_resources({"store": store_resource}) as first:
        engine = first.store.inbox.engine
        first.store.inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "hi"}, datetime.now(UTC))
    with dg.build_resources({"store": store_resource}) as second:
        assert second.store.inbox.engine is engine
        assert second.store.inbox.get(ChallengeId("c-1")).attempts == 0


def test_a_forked_child_opens_its_own_and_leaves_the_parents_alone(own_home: Path) -> None:
    parents = process_store(get_settings())
    parents.inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "hi"}, datetime.now(UTC))
    child = os.fork()
    if child == 0:
        ours = process_store(get_settings())
        fine = ours is not parents and claim(ours.inbox, ChallengeId("c-1"), datetime.now(UTC)) == 1
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert parents.inbox.get(ChallengeId("c-1")).attempts == 1
