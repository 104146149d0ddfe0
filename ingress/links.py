"""The link of a challenge for its sender, signed by this validator's hotkey: what proves to others that it was told."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.audit.acceptances import Link, Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.acceptances import link_of
from loosh_pipeline.wire.crypto import Signer

logger = logging.getLogger(__name__)


class Links:
    """Tells links. `signer`: None where no wallet is, so that they are told unsigned."""

    def __init__(self, engine: Engine, signer: Signer | None) -> None:
        self._engine, self._signer = engine, signer

    @classmethod
    def of(cls, settings: Settings, engine: Engine) -> Links:
        try:
            signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
        except ConfigError as error:
            logger.warning("links of accepted challenges are not signed: %s", error)
            return cls(engine, None)
        return cls(engine, signer)

    def told(self, challenge_id: ChallengeId, link: Link) -> Told:
        """Some 20 µs of processor time."""
        if self._signer is None:
            return Told(link)
        return Told(link, self._signer.sign(link_bytes(challenge_id, link.seq, link.digest)).hex())

    async def of_known(self, challenge_id: ChallengeId) -> Told | None:
        """Of a challenge that was accepted before, whose sender may have heard no answer; None where it has no link."""
        try:
            link = await asyncio.to_thread(link_of, self._engine, challenge_id)
        except SQLAlchemyError as error:  # it is told that it is there, all the same
            logger.warning("the link of a known challenge cannot be read: %s", getattr(error, "orig", error))
            return None
        return None if link is None else self.told(challenge_id, link)
