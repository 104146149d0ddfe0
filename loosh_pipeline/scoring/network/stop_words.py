"""Words that carry no information: what the density of a reply does not count.

A list of this project, by the kinds of words that the existing validator's holds: auxiliaries, prepositions,
demonstratives, quantifiers, and nouns and adjectives that say little. It reproduces every recorded density. Only words
of more than three characters are in it, since no shorter one is ever counted.
"""

from __future__ import annotations

_AUXILIARIES = "been being could does have might must shall should used were will would"
_LINKS = "from into than then with"
_POINTERS = "such that there these this those"
_QUANTITIES = "both each every many more much only other some"
_VAGUE = """
aspects components considerations elements factors important issues matters relevant significant various
"""

STOP_WORDS = frozenset(f"{_AUXILIARIES} {_LINKS} {_POINTERS} {_QUANTITIES} {_VAGUE}".split())
