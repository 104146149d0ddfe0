"""`python -m loosh_pipeline.alerting`: look every few seconds, and tell a webhook. `loosh up` runs it.

A process of its own, beside all that it tells of: a sensor is silent when Dagster is, a thread when the ingress is, and
`loosh up` itself is to stay light. It keeps going whatever fails; `loosh up` starts it again.
"""

from __future__ import annotations

import logging
import signal
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

from loosh_pipeline.alerting.look import Watch
from loosh_pipeline.alerting.telling import Teller
from loosh_pipeline.alerting.webhook import send
from loosh_pipeline.chain.wallet import hotkey_of
from loosh_pipeline.logs import configure
from loosh_pipeline.redaction import redactor
from loosh_pipeline.settings import Settings, get_settings

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0


def main() -> None:
    settings, stopping = get_settings(), threading.Event()
    configure(settings, "alerts")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logger.info("what should be looked at is looked for every %g s", LOOK_EVERY_S)
    watch, teller = Watch.of(settings), teller_of(settings)
    try:
        while not stopping.is_set():
            try:
                teller.take(watch.look(datetime.now(UTC)))
            except Exception:  # the next look may succeed, and who watches must not end by what it watches
                logger.exception("looking for alerts failed")
            stopping.wait(LOOK_EVERY_S)
    finally:
        watch.close()


def teller_of(settings: Settings) -> Teller:
    """Who tells the webhook of these settings."""
    hook = settings.alert_webhook_url
    return Teller(
        settings.home,
        who(settings),
        timedelta(hours=settings.alert_repeat_h),
        None if hook is None else partial(send, hook.get_secret_value()),
        redactor(settings),
    )


def who(settings: Settings) -> str:
    """Which validator speaks: an operator may have several."""
    hotkey = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    return f"Loosh validator {hotkey or 'without a readable hotkey'}, subnet {settings.netuid}"


if __name__ == "__main__":
    main()
