"""`python -m tests.docs.reference`: write docs/reference/*.md anew, from settings, commands and the ingress."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs import reference_cli, reference_http, reference_settings

HERE = Path(__file__).resolve().parents[2] / "docs/reference"
MADE = "<!-- Made from the code by `make reference`; a test fails where it is not. -->\n\n"


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    return {
        "settings.md": MADE + reference_settings.page(),
        "http.md": MADE + reference_http.page(),
        "cli.md": MADE + reference_cli.page(),
    }


def main(folder: Path = HERE) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
