"""What the settings mean for whoever wants to push challenges."""

from __future__ import annotations

from loosh_pipeline.settings import Settings


def who_may_push(settings: Settings) -> str:
    """Who may push challenges, in one line."""
    if settings.intake_auth == "open":
        return "anybody on this machine may push challenges (INTAKE_AUTH=open)"
    if settings.intake_auth == "signature-optional":
        return "anybody may push challenges, signed or not, as on today's network (INTAKE_AUTH=signature-optional)"
    who = [f"hotkeys ({len(settings.intake_hotkeys)})"] if settings.intake_hotkeys else []
    who += ["holders of the API key"] if settings.challenge_push_api_key is not None else []
    who += [] if settings.intake_local_auth else ["programs on this machine"]
    said = f"challenges are taken from {', '.join(who) or 'nobody'}"
    return said if settings.intake_hotkeys else f"{said}; name the Challenge API's hotkey in INTAKE_HOTKEYS"
