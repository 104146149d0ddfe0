"""Why a bundle cannot be read, or is not what was signed.

Refusal
├── Unreadable    it is no bundle, is incomplete, too large, or of a format that this release does not know
└── Altered       it is not what its manifest says
"""

from __future__ import annotations

from loosh_pipeline.errors import LooshError

NOT_TRIED = 64
"""Exit code for wrong usage and for a file that is not there: 1 and 2 are verdicts (64 is sysexits' EX_USAGE)."""


class Refusal(LooshError):
    """Base of the tree."""


class Unreadable(Refusal):
    """A file or a part of it cannot be read as what it is to be."""


class Altered(Refusal):
    """An entry has other bytes than the manifest says."""
