"""The bundle that comes with the documentation is of a validator that really ran, and is true."""

from __future__ import annotations

from pathlib import Path

from loosh_pipeline.audit.file import Level, read
from loosh_pipeline.audit.report import Verdict
from loosh_pipeline.audit.verify import verify

SAMPLE = Path(__file__).parents[2] / "docs" / "sample.loosh-audit"
MOST_BYTES = 1_500_000
TODO = "make it anew with `make sample-bundle`"


def test_it_matches_and_is_small() -> None:
    report = verify(SAMPLE)
    assert report.verdict is Verdict.MATCH, (report.problems, TODO)
    assert report.level == Level.SAMPLE
    assert SAMPLE.stat().st_size < MOST_BYTES


def test_an_altered_copy_does_not(tmp_path: Path) -> None:
    content = bytearray(SAMPLE.read_bytes())
    content[len(content) // 2] ^= 1
    (altered := tmp_path / "altered.loosh-audit").write_bytes(content)
    assert verify(altered).verdict is not Verdict.MATCH


def test_somebody_was_paid_and_somebody_was_not() -> None:
    content = read(SAMPLE).content
    shares = sorted(content.proposal.shares.values())
    assert shares[0] == 0 < shares[-1] < 1
    assert len(content.rounds) == len(content.window.columns.challenges) > 9
