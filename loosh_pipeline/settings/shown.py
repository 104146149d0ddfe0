"""Settings for people: what each is, where that comes from, and `env.example`. Secrets are never shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from loosh_pipeline.chain.endpoints import shown
from loosh_pipeline.settings.credentials import without_credentials
from loosh_pipeline.settings.given import Names
from loosh_pipeline.settings.legacy import OURS_BEFORE, RENAMED, older_values
from loosh_pipeline.settings.machine import FILES_BROKER
from loosh_pipeline.settings.model import SECTIONS, Settings

MASK = "********"
DEFAULT = "default"
WIDTH = 118
HEAD = """\
Copy to `.env` in the directory you start from. For a first try, append the settings that `loosh devnet` prints: the \
last line of a name counts. Names are the network's own where it has one. An empty value counts as unset. Made by \
`loosh config example`; `loosh config show` says what holds, and why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting. `value` has no secret in it; `source`: default, environment, or a file, and the name used there."""

    name: str
    value: str
    default: str
    source: str
    section: str
    doc: str


def shown_settings(settings: Settings, environment: Names, dotenv: Names) -> list[Shown]:
    """Every setting, in the order of `env.example`."""
    older, _ = older_values(environment, dotenv)

    def source(name: str) -> str:
        if found := environment.get(name.upper()) or dotenv.get(name.upper()):
            return found.origin
        return f"{older[name].name} ({older[name].origin})" if name in older else DEFAULT

    return [
        Shown(
            name.upper(),
            _masked(field, getattr(settings, name)),
            _default(field),
            source(name),
            section,
            field.description or "",
        )
        for section, name, field in _fields()
    ]


def env_example() -> str:
    """The text of `env.example`: every setting with its default and what it is for."""
    blocks, before = [_comment(HEAD)], ""
    for section, name, field in _fields():
        if section != before:
            blocks.append("\n# --- " + f"{section} ".ljust(WIDTH - 6, "-"))
            before = section
        blocks.append(f"{_comment(field.description or '')}\n{name.upper()}={_default(field)}")
    return "\n".join(blocks) + "\n"


def holds_secrets(name: str) -> bool:
    """Whether the setting of this name, in either case, is never shown whole; older names too."""
    if name.upper() in OURS_BEFORE:  # an address that may hold a password
        return True
    renamed = RENAMED.get(name.upper())
    field = Settings.model_fields.get(renamed.setting if renamed else name.lower())
    return field is not None and (_is_secret(field) or not field.repr)


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            yield (section.__doc__ or "").strip(), name, field


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _masked(field: FieldInfo, value: Any) -> str:
    if value in (None, "", ()):
        return ""
    if isinstance(value, SecretStr):
        return "" if value.get_secret_value() == FILES_BROKER else MASK
    if field.repr:
        return without_credentials(_text(value))
    if isinstance(value, str) and value.startswith("{"):
        return ", ".join(f"{key}: {MASK}" for key in json.loads(value))
    return ",".join(map(shown, value)) if isinstance(value, tuple) else shown(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value in (None, (), "") or _is_secret(field):
        return ""
    return _text(value)


def _comment(text: str) -> str:
    return "\n".join(
        textwrap.wrap(
            text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
        )
    )
