"""Nothing that a model writes loads anything or leads anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.narrative.markdown import leads_somewhere, without_links


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("![a **calm** round](http://e.test/x.png) ended", "a **calm** round ended"),
        ('see [the figures](https://e.test/a_(b) "title") now', "see the figures now"),
        ("[![logo](http://e.test/x.png)](http://e.test)", "logo"),
        ("[words][1] stay\n\n[1]: http://e.test/x 'title'\n", "words stay"),
        ("uids [4, 9] agree, uid 3 < uid 4", "uids (4, 9) agree, uid 3 &lt; uid 4"),
        ('<img src="http://e.test/x.png">calm <a href="//e.test">round</a>', "calm round"),
        ("at <https://e.test/x> or http://e.test/y.", "at  or"),
        ("![cut](http://e.test/", "!(cut)("),
        ("[[inner](http://e.test)](http://e.test)", "inner"),
        ("![a\\](http://e.test)", "a\\"),
        ("**uid 4** with 1.20\n\n- uid 9: copy", "**uid 4** with 1.20\n\n- uid 9: copy"),
    ],
)
def test_images_and_links_are_words_only(said: str, kept: str) -> None:
    assert without_links(said).strip() == kept


@given(st.text(alphabet='![]()<>a:/ "\n\\', max_size=60))
def test_no_markdown_link_survives(text: str) -> None:
    assert not set("[]<") & set(without_links(text))


@pytest.mark.parametrize(
    "text",
    [
        "[here](http://evil)",
        "![](x)",
        "[a][b]",
        "[a]: /x",
        "<b>uid 4</b>",
        "<!-- x -->",
        "ftp://evil",
        "see www.evil",
        "mailto:a",
        "write to a@b",
        "pay at evil.com now",
        "EVIL.COM",
        "http&colon;//x",
        "&#104;ttp",
        "мир.рф is not latin, мир.com is",
        "xn--e1afmkfd.xn--p1ai",
        "send it to 5CcyqxXnJucaCnQQvvUg5EPzj1uoNAxACZvzArHw5aVDvgNH",
    ],
)
def test_what_leads_somewhere_is_seen(text: str) -> None:
    assert leads_somewhere(text)


@pytest.mark.parametrize(
    "text",
    [
        "uids [4, 9] agree.",
        "uid 3 < uid 4",
        "Calm.\nUid 4 won.",
        "e.g. uid 4, i.e. the best",
        "0.87 vs. 0.5",
        "Paid.Uid 4",
    ],
)
def test_plain_text_leads_nowhere(text: str) -> None:
    assert not leads_somewhere(text)
