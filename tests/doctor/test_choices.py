"""What the operator chose, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loosh_pipeline.doctor.choices import CHOICES
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import emissions_frame
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import emission


def said(settings: Settings, devnet: bool = False) -> dict[str, tuple[str, str]]:
    """The verdict on each choice, and the whole of what is said about it."""
    found = [choice(settings, devnet) for choice in CHOICES.values()]
    assert [each.subject for each in found] == list(CHOICES)
    return {each.subject: (each.verdict, f"{each.said}; {each.todo}".removesuffix("; ")) for each in found}


def kept(home: Path, table: str, profile: str, weights: dict[str, float]) -> None:
    now = datetime.now(UTC)
    frame = emissions_frame([emission(hotkey, weight=w) for hotkey, w in weights.items()], profile, 3)
    Tables(str(home / "tables")).write(table, TableKey.of("run-1", now), frame)


def test_paying_unlike_the_others_without_a_shadow_costs_an_unknown_share(tmp_path: Path) -> None:
    verdict, text = said(Settings(loosh_home=tmp_path))["pay"]
    assert verdict == "look"
    assert "SCORING_PROFILES=robust,network" in text


def test_the_shadow_of_the_same_rounds_says_what_is_clipped(tmp_path: Path) -> None:
    settings = Settings(loosh_home=tmp_path, scoring_profiles=("robust", "network"))
    assert "after the first emissions" in said(settings)["pay"][1]
    kept(tmp_path, "emissions", "robust", {"a": 0.75, "b": 0.25})
    kept(tmp_path, "shadow_emissions", "network", {"a": 0.5, "b": 0.5})
    verdict, text = said(settings)["pay"]
    assert verdict == "look"
    assert "25% of the weights paid by robust are clipped: expected trust 0.75" in text


def test_paying_like_the_others_is_fine_on_their_embedding_model_only(tmp_path: Path) -> None:
    network = Settings(loosh_home=tmp_path, scoring_profiles=("network",), pay_profile="network")
    assert said(network)["pay"][0] == "ok"
    assert said(network)["embedding model"][0] == "look"
    same = network.model_copy(update={"embedding_model": "/models/all-mpnet-base-v2"})
    assert said(same)["embedding model"] == ("ok", "/models/all-mpnet-base-v2")


def test_what_a_proxy_here_passes_on_is_a_matter_of_a_setting(tmp_path: Path) -> None:
    verdict, text = said(Settings(loosh_home=tmp_path))["proxy"]
    assert (verdict, "set INTAKE_LOCAL_AUTH=true" in text) == ("ok", True)
    behind = Settings(loosh_home=tmp_path, public_url="https://v.example/")
    verdict, text = said(behind)["proxy"]
    assert (verdict, "set INTAKE_LOCAL_AUTH=true" in text) == ("look", True)
    assert said(behind.model_copy(update={"intake_local_auth": True}))["proxy"][0] == "ok"


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        ({}, "ok", "this machine"),
        ({"public_url": "http://127.0.0.1:8000"}, "ok", "this machine"),
        ({"public_url": "http://v.example:8000"}, "look", "refused pictures at PUBLIC_URL"),
        ({"public_url": "http://v.example:8000", "pages_public": True}, "look", "everybody"),
    ],
)
def test_who_sees_the_pages_is_said(tmp_path: Path, changes: dict[str, object], verdict: str, text: str) -> None:
    found = said(Settings(loosh_home=tmp_path, **changes))["pages"]
    assert (found[0], text in found[1]) == (verdict, True)


HOTKEY = "5CcyqxXnJucaCnQQvvUg5EPzj1uoNAxACZvzArHw5aVDvgNH"


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        ({}, "look", "challenges are taken from programs on this machine; name the Challenge API's hotkey"),
        ({"intake_hotkeys": (HOTKEY,)}, "ok", "challenges are taken from hotkeys (1), programs on this machine"),
        ({"challenge_push_api_key": "k"}, "ok", "challenges are taken from holders of the API key, programs"),
        ({"intake_local_auth": True}, "look", "challenges are taken from nobody"),
        ({"intake_auth": "signature-optional"}, "look", "anybody may push challenges, signed or not"),
        ({"intake_auth": "open", "api_host": "127.0.0.1"}, "look", "anybody on this machine may push"),
    ],
)
def test_who_may_push_is_said(tmp_path: Path, changes: dict[str, object], verdict: str, text: str) -> None:
    found, said_text = said(Settings(loosh_home=tmp_path, **changes))["intake"]
    assert (found, text in said_text) == (verdict, True), said_text


def test_on_a_subnet_on_this_machine_defaults_are_fine(tmp_path: Path) -> None:
    settings = Settings(loosh_home=tmp_path)
    assert {verdict for verdict, _ in said(settings, devnet=True).values()} == {"ok"}
    assert [subject for subject, (verdict, _) in said(settings).items() if verdict == "look"] == ["intake", "pay"]


def test_short_keys_are_named_and_not_shown(tmp_path: Path) -> None:
    settings = Settings(
        loosh_home=tmp_path, challenge_api_key="short-1", challenge_push_api_key="long-enough-to-be-a-key"
    )
    verdict, text = said(settings)["keys"]
    assert (verdict, text.partition(";")[0]) == ("look", "CHALLENGE_API_KEY has less than 12 characters")
    assert "short-1" not in text
    assert said(settings, devnet=True)["keys"][0] == "ok"
    assert said(Settings(loosh_home=tmp_path))["keys"][0] == "ok"
