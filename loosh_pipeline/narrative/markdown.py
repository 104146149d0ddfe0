"""Text of a model as Markdown that loads nothing and leads nowhere."""

from __future__ import annotations

import re

# Markdown that loads or leads somewhere; the words that stand for it are kept.
_INLINE_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])")
_LINK_TARGET = re.compile(r"^[ >]*\[[^\[\]\n]*\]:[ \t]*\S+(?:[ \t]+[\"'(].*)?[ \t]*$", re.MULTILINE)
_HTML_TAG = re.compile(r"<[/!?a-zA-Z][^<>]*>")
_BARE_URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|www\.|mailto:)[^\s)\]]*", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:[^\W_][\w-]*\.)+(?:[a-z]{2,24}|[A-Z]{2,24}|xn--[\w-]+)\b")
_AT_HOST = re.compile(r"\w@\w")
_ENTITY = re.compile(r"&#?\w+;")
_LONG_TOKEN = re.compile(r"\w{32,}")
"""A hotkey, a key, a hash: no word is as long."""
# Without these characters nothing that is left, nested or cut off, can be an image, a link or HTML.
_DISARMED = str.maketrans({"[": "(", "]": ")", "<": "&lt;"})


def without_links(markdown: str) -> str:
    """`markdown` without images, links, addresses and HTML, with their words left in place."""
    text, links = markdown, 1
    while links:  # an image may stand in a link
        text, links = _INLINE_LINK.subn(r"\1", text)
    for pattern in (_LINK_TARGET, _HTML_TAG, _BARE_URL):
        text = pattern.sub("", text)
    return text.translate(_DISARMED)


def leads_somewhere(markdown: str) -> bool:
    """Whether it holds an image, a link, HTML, or an address of any kind: of the web, of mail, of a wallet."""
    linking = (_LINK_TARGET, _HTML_TAG, _BARE_URL, _DOMAIN, _AT_HOST, _ENTITY, _LONG_TOKEN)
    return any(mark in markdown for mark in ("](", "][", "![")) or any(each.search(markdown) for each in linking)
