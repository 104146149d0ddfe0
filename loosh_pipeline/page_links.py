"""Where the ingress shows what Dagster speaks of: addresses of its pages, for people."""

from __future__ import annotations

from urllib.parse import quote


def of_challenge(ingress_url: str, challenge_id: str) -> str:
    return f"{ingress_url}/rounds/{_quoted(challenge_id)}"


def of_miner(ingress_url: str, hotkey: str) -> str:
    return f"{ingress_url}/miners/{_quoted(hotkey)}"


def of_miners(ingress_url: str) -> str:
    return f"{ingress_url}/miners"


def of_weights(ingress_url: str, epoch: int | None = None) -> str:
    """`epoch`: number of a submission; None: the newest."""
    return f"{ingress_url}/weights" + ("" if epoch is None else f"?epoch={epoch}")


def of_heatmap(ingress_url: str, challenge_id: str) -> str:
    """The picture of a round."""
    return f"{ingress_url}/heatmaps/{_quoted(challenge_id)}.png"


def _quoted(name: str) -> str:
    """An id may hold a slash, which is no step then."""
    return quote(name, safe="")
