from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet.chain.scale import compact, read_bytes, read_compact


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (63, "fc"), (64, "0101"), (16383, "fdff"), (16384, "02000100"), (2**30, "0300000040")],
)
def test_compact_integers_of_the_specification(value: int, encoded: str) -> None:
    assert compact(value).hex() == encoded


@given(st.integers(0, 2**128), st.binary(max_size=8), st.binary(max_size=8))
def test_a_compact_integer_is_read_back_wherever_it_stands(value: int, before: bytes, after: bytes) -> None:
    data = before + compact(value) + after
    assert read_compact(data, len(before)) == (value, len(data) - len(after))


@given(st.integers(0, 2**128))
def test_truncated_bytes_are_an_error(value: int) -> None:
    with pytest.raises(ValueError, match=r"bytes (end|wanted)"):
        read_compact(compact(value)[:-1], 0)


def test_byte_vectors_end_where_they_say() -> None:
    assert read_bytes(b"\x0cabcd", 0) == (b"abc", 4)
    with pytest.raises(ValueError, match="3 bytes wanted at 1, 2 left"):
        read_bytes(b"\x0cab", 0)
    with pytest.raises(ValueError, match="not negative"):
        compact(-1)
