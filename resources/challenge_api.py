"""The Challenge API that results are told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.settings import get_settings
from loosh_pipeline.wire.challenge_api_client import ChallengeApi, Delivery, DeliveryStatus, HttpChallengeApi


class Unconfigured:
    """No Challenge API is set: everything waits in the outbox until one is."""

    def send_batch(self, payload: Mapping[str, Any] | bytes) -> Delivery:
        return Delivery(DeliveryStatus.RETRY, "CHALLENGE_API_URL is not set; the result is kept until it is")


@dg.resource(description="The API at CHALLENGE_API_URL, over the encrypted protocol only.")
def challenge_api_resource(_context: dg.InitResourceContext) -> Iterator[ChallengeApi]:
    """Raises ConfigError when the hotkey that signs cannot be loaded."""
    settings = get_settings()
    if settings.challenge_api_url is None:
        yield Unconfigured()
        return
    signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    key = settings.challenge_api_key.get_secret_value() if settings.challenge_api_key else None
    with HttpChallengeApi(str(settings.challenge_api_url), signer, api_key=key) as api:
        yield api
