"""What the site does beyond Markdown: pages beside docs/ belong to it, and links to source files are plain text.

In the repository such links lead to the file. A site is read without it, so there the file's name is left, unless
SOURCE_URL says where the code is on the web. One that is in neither place stays a link, which `--strict` refuses.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site."""
INSTEAD = {**BESIDE, "README.md": "index.md", "SECURITY.md": "security.md", "docs": "index.md"}
"""Where links to these lead on the site."""
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in BESIDE.items():
        text = (ROOT / name).read_text("utf-8")
        files.append(File.generated(config, page, content=with_links_of_the_site(text, ".", page)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    source = page.file.src_uri
    if source in BESIDE.values():
        return markdown
    return with_links_of_the_site(markdown, posixpath.dirname(f"docs/{source}"), source)


def with_links_of_the_site(markdown: str, folder: str, page: str) -> str:
    """The text of `page`, whose links are relative to `folder` of the repository, with links of the site."""
    parts = FENCED.split(markdown)
    return "".join(
        part if number % 2 else LINK.sub(lambda found: _link(found, folder, page), part)
        for number, part in enumerate(parts)
    )


def _link(found: re.Match[str], folder: str, page: str) -> str:
    text, link = found.groups()
    path, mark, anchor = link.partition("#")
    if not path or "://" in link or link.startswith("mailto:"):
        return found[0]
    target = posixpath.normpath(posixpath.join(folder, path))
    if target in INSTEAD:
        target = f"docs/{INSTEAD[target]}"
    elif not target.startswith("docs/"):
        return _of_source(text, f"{target}{mark}{anchor}") if (ROOT / target).exists() else found[0]
    there = os.path.relpath(target, posixpath.dirname(f"docs/{page}"))
    return f"[{text}]({there}{mark}{anchor})"


def _of_source(text: str, target: str) -> str:
    """A link to the code on the web, where that is known; as the setting of a validator has it."""
    url = os.environ.get("SOURCE_URL", "").rstrip("/")
    return f"[{text}]({url}/{target})" if url else text
