"""The Challenge API that assets and sensors are given is the one that the settings describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.sessions import ApiSessionStore
from loosh_pipeline.wire.challenge_api_client import DeliveryStatus
from resources import challenge_api
from resources.challenge_api import challenge_api_resource


def test_without_an_address_everything_waits() -> None:
    with dg.build_resources({"challenge_api": challenge_api_resource}) as built:
        delivery = built.challenge_api.tell(DeliveryKind.HEATMAP, b"{}")
    assert (delivery.status, delivery.retry_after_s) == (DeliveryStatus.RETRY, None)
    assert "CHALLENGE_API_URL is not set" in delivery.detail


@pytest.mark.parametrize("allowed", [None, "true", "false"])
def test_w_14_clear_text_needs_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: str | None) -> None:
    built: list[dict[str, Any]] = []
    monkeypatch.setattr(challenge_api, "HttpChallengeApi", lambda url, signer, **options: built.append(options))
    monkeypatch.setenv("CHALLENGE_API_URL", "https://challenge.example")
    monkeypatch.setenv("CHALLENGE_API_KEY", "key")
    monkeypatch.setenv("WALLET_PATH", str(tmp_path))
    if allowed is not None:
        monkeypatch.setenv("ALLOW_CLEAR_TEXT_FALLBACK", allowed)
    get_settings.cache_clear()
    settings = get_settings()
    create_wallet(tmp_path, settings.wallet_name, settings.hotkey_name)
    with dg.build_resources({"challenge_api": challenge_api_resource}):
        (options,) = built
    assert isinstance(options.pop("sessions"), ApiSessionStore)
    assert options == {"api_key": "key", "allow_clear_text": allowed == "true"}
