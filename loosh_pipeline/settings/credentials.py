"""What of a text may be shown, when it may be an address that somebody put a password or a key into."""

from __future__ import annotations

import re

HIDDEN = "***"
_USER = re.compile(r"[^\s/,@]+@")
_QUERY = re.compile(r"[?#][^\s,]*")


def without_credentials(text: str) -> str:
    """An address, or several, without user, password, query and fragment; other texts as they are."""
    if "://" not in text and ":/" not in text and "@" not in text:
        return text
    return _QUERY.sub(f"?{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
