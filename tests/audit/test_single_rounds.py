"""Words of strangers within receipts: as they were said, and harmless."""

from __future__ import annotations

import pytest

from loosh_pipeline.audit.single_rounds import excerpt, passage


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nSo:\r\n```\ndef f():\n\treturn 1  \n```\n\n", "So:\n```\ndef f():\n    return 1\n```"),
        ("a\u202eb\0c\u2028d", "a�b�c\nd"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_lines_stay_lines_and_nothing_unseen_stays(text: str, said: str) -> None:
    assert passage(text, 600) == said


def test_what_is_long_is_cut_and_says_so() -> None:
    assert passage("x\n" * 1000, 5) == "x\nx\nx…"
    assert passage("12345", 5) == "12345"
    assert excerpt("a\n b", 9) == "a b"
