"""The Challenge API that results are told to."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.sessions import ApiSessionStore
from loosh_pipeline.wire.challenge_api_client import ChallengeApi, Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.network_view import ScoresSaid, ValidatorsSaid
from resources.chain import hotkey_stamp, process_signer
from resources.once import Once
from resources.store import process_store


class Unconfigured:
    """No Challenge API is set: everything waits in the outbox until one is, and nothing can be asked."""

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        return Delivery(DeliveryStatus.RETRY, "CHALLENGE_API_URL is not set; the result is kept until it is")

    def validators(self) -> ValidatorsSaid:
        raise ConfigError("CHALLENGE_API_URL is not set, so nobody can be asked who validates; set it")

    def sybil_scores(self, miners: Sequence[Hotkey]) -> ScoresSaid:
        raise ConfigError("CHALLENGE_API_URL is not set, so nobody can be asked about miners; set it")


def _reached(settings: Settings) -> ChallengeApi:
    """Raises ConfigError when the hotkey that signs cannot be loaded."""
    if settings.challenge_api_url is None:
        return Unconfigured()
    signer = process_signer(settings)
    key = settings.challenge_api_key.get_secret_value() if settings.challenge_api_key else None
    return HttpChallengeApi(
        str(settings.challenge_api_url),
        signer,
        api_key=key,
        sessions=ApiSessionStore(lambda: process_store(settings).inbox.engine, signer.ss58_address),
        allow_clear_text=settings.allow_clear_text_fallback,
    )


process_challenge_api = Once(_reached, hotkey_stamp)
"""Its root certificates are read once in a process, which takes as long as scoring a round."""


@dg.resource(description="The API at CHALLENGE_API_URL, over the encrypted protocol unless settings allow otherwise.")
def challenge_api_resource(_context: dg.InitResourceContext) -> ChallengeApi:
    return process_challenge_api(get_settings())
