"""How often a caller may call: a bucket of tokens each, in bounded memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException

from ingress.callers import Caller
from loosh_pipeline.settings import Settings

BURST_S = 10.0
"""What a caller did not use of this many seconds, it may use at once."""
MAX_BUCKETS = 10_000
FORWARDED = "forwarded"
FORWARDED_SHARE = 10.0
"""All that comes through proxies may come this many times as often as one address."""


class Buckets:
    """Token buckets by key. Of more than `max_buckets`, the one that was not used for longest is forgotten."""

    def __init__(
        self, per_s: float, *, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = max(1.0, per_s * BURST_S)
        self._max_buckets = max_buckets
        self._clock = clock
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def give_back(self, key: str, cost: float = 1.0) -> None:
        """Give tokens back that were taken for what need not have been counted."""
        if key in self._tokens:
            tokens, at_s = self._tokens[key]
            self._tokens[key] = (min(self._burst, tokens + cost), at_s)

    def take(self, key: str, cost: float = 1.0) -> float:
        """Take `cost` tokens (never more than a full bucket): 0, or the seconds after which there are enough."""
        now_s = self._clock()
        cost = min(cost, self._burst)
        tokens, at_s = self._tokens.pop(key, (self._burst, now_s))
        tokens = min(self._burst, tokens + max(0.0, now_s - at_s) * self._per_s)
        enough = tokens >= cost
        self._tokens[key] = (tokens - cost if enough else tokens, now_s)
        if len(self._tokens) > self._max_buckets:
            self._tokens.popitem(last=False)
        return 0.0 if enough else (cost - tokens) / self._per_s


class Rates:
    """What addresses and hotkeys may do. This machine is not counted, unless it has to sign like others.

    Whoever claims to be one that may push is counted apart from the rest of its address, until the claim is proved:
    what others send from behind the same proxy takes nothing from it.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_address = Buckets(settings.intake_rate_per_address, clock=clock)
        self._forwarded = Buckets(settings.intake_rate_per_address * FORWARDED_SHARE, clock=clock)
        self._by_hotkey = Buckets(settings.intake_rate_per_hotkey, clock=clock)
        self._by_claim = Buckets(settings.intake_rate_per_address, clock=clock)
        self._count_local = settings.intake_local_auth

    def exempt(self, caller: Caller) -> bool:
        return caller.local and not self._count_local

    def wait_s(self, caller: Caller, cost: float = 1.0) -> float:
        """0 when a request of this caller may be served now, else the seconds after which it may."""
        if self.exempt(caller):
            return 0.0
        wait_s = self._by_address.take(caller.address, cost)
        if wait_s or not caller.forwarded:
            return wait_s
        return self._forwarded.take(FORWARDED, cost)

    def claim_wait_s(self, caller: Caller, claim: str, cost: float = 1.0) -> float:
        """The same for one that claims to be a hotkey, or a holder of the API key, that may push."""
        return 0.0 if self.exempt(caller) else self._by_claim.take(f"{caller.address} {claim}", cost)

    def count_address(self, caller: Caller, cost: float, claim: str | None = None) -> None:
        """Raises 429 when the caller's address did too much, or claimed this too often and did not prove it."""
        if wait_s := self.wait_s(caller, cost) if claim is None else self.claim_wait_s(caller, claim, cost):
            raise too_many(wait_s)

    def count_hotkey(self, caller: Caller, hotkey: str, claimed: float = 1.0) -> None:
        """Count what is proved to be of a hotkey, or of whoever knows the API key, and no longer as a claim.

        Raises 429 when it pushed too much.
        """
        if self.exempt(caller):
            return
        self._by_claim.give_back(f"{caller.address} {hotkey}", claimed)
        if wait_s := self._by_hotkey.take(hotkey):
            raise too_many(wait_s)


def too_many(wait_s: float) -> HTTPException:
    return HTTPException(429, "too many requests; send fewer a second", headers=retry_after(wait_s))


def retry_after(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(wait_s)))}
