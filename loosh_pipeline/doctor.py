"""What an operator should know before it costs anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.pushers import who_may_push
from loosh_pipeline.scorers import clipping_warning, model_warning
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.tables import Tables

Verdict = Literal["ok", "look"]

_SIGN_HERE = "set INTAKE_LOCAL_AUTH=true: what it passes on can look like a request of this machine"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `look` means that somebody should."""

    subject: str
    verdict: Verdict
    said: str


def findings(settings: Settings) -> list[Finding]:
    """Everything that is looked at, in the order in which it matters."""
    return [_intake(settings), _proxy(settings), _pages(settings), _pay(settings), _model(settings)]


def _intake(settings: Settings) -> Finding:
    known = settings.intake_auth == "required" and bool(settings.intake_hotkeys or settings.challenge_push_api_key)
    return Finding("intake", "ok" if known else "look", who_may_push(settings))


def _proxy(settings: Settings) -> Finding:
    """Whether what a proxy on this machine passes on could pass for a program of this machine."""
    subject, told = "proxy", "a proxy or tunnel on this machine (nginx, Caddy, ssh -R, socat) passes requests on"
    if settings.intake_local_auth:
        return Finding(subject, "ok", "who is on this machine signs too (INTAKE_LOCAL_AUTH=true)")
    url = settings.public_url
    if url is not None and (url.scheme == "https" or url.port != settings.api_port):
        return Finding(subject, "look", f"PUBLIC_URL ({url}) is not this server's own port; if {told}, {_SIGN_HERE}")
    return Finding(subject, "ok", f"programs on this machine push unsigned and may stop it; if {told}, {_SIGN_HERE}")


def _pages(settings: Settings) -> Finding:
    """Whether the browsers that PUBLIC_URL is for may see what is linked with it."""
    subject, url = "pages", settings.public_url
    if settings.pages_public:
        return Finding(
            subject, "look", "everybody who reaches the ingress sees prompts and answers (PAGES_PUBLIC=true)"
        )
    if url is not None and url.host not in ("localhost", "127.0.0.1", "[::1]"):
        return Finding(
            subject,
            "look",
            f"browsers are refused pictures at PUBLIC_URL ({url}); leave it empty and reach port {settings.api_port} "
            "through an SSH tunnel, or set PAGES_PUBLIC=true",
        )
    return Finding(subject, "ok", "overview and pictures are for this machine and holders of the API key")


def _pay(settings: Settings) -> Finding:
    """What paying by this profile costs where the others pay by the network's."""
    subject, network = "pay", NetworkProfile.name
    if settings.pay_profile == network:
        return Finding(subject, "ok", f"paid by {network}, like the network's existing validators")
    if network not in settings.scoring_profiles:
        return Finding(
            subject,
            "look",
            f"paid by {settings.pay_profile}; whoever pays unlike the other validators loses trust. Set "
            f"SCORING_PROFILES={settings.pay_profile},{network} to learn how much",
        )
    tables = Tables(settings.tables_root)
    own, others = tables.latest("emissions"), tables.latest("shadow_emissions")
    if own is None or others is None:
        return Finding(subject, "look", f"paid by {settings.pay_profile}; the cost is known after the first emissions")
    paid = _weights(own, settings.pay_profile)
    return Finding(subject, "look", clipping_warning(paid, settings.pay_profile, _weights(others, network), network))


def _weights(emissions: pl.DataFrame, profile: str) -> dict[Hotkey, float]:
    rows = emissions.filter(pl.col("profile") == profile).select("hotkey", "weight").rows()
    return {Hotkey(hotkey): weight for hotkey, weight in rows}


def _model(settings: Settings) -> Finding:
    warning = model_warning(settings)
    return Finding("embedding model", "look" if warning else "ok", warning or f"{settings.embedding_model}")
