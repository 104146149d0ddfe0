"""Rounds without what was asked and answered: words are told apart, and not read.

Every word but the function words of English gets a name that stands for it in all of a bundle, drawn anew for each
bundle by a key that is thrown away; a text becomes its words in the order of these names. That is all that likeness of
wording is made of, so pay can be worked out again, while the network's own method, which reads texts, cannot. Digests
of the originals stay. What a text was about can still be guessed from its vectors, and words from how often they occur.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from loosh_pipeline.audit.content import RoundInputs
from loosh_pipeline.audit.leaves import digests_of
from loosh_pipeline.domain import Response
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.function_words import FUNCTION_WORDS
from loosh_pipeline.scoring.text import MAX_CHARS, TEST_MODE_PREFIX, is_test_mode, words

NAME_BYTES = 5
"""Of 20,000 words, two share a name with a chance of 1 in 5,000."""
HIDDEN = "x"
"""How the name of a word begins."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """Names for words. `key`: 16 to 64 random bytes that nobody keeps."""

    key: bytes = field(repr=False)

    def name(self, word: str) -> str:
        if word in FUNCTION_WORDS:
            return word
        said = word.encode("utf-8", "surrogatepass")
        return HIDDEN + hashlib.blake2b(said, key=self.key, digest_size=NAME_BYTES).hexdigest()

    def text(self, text: str) -> str:
        """The names of a text's words, sorted. Raises ScoringError for one of which they would be too long to read."""
        named = " ".join(sorted(map(self.name, words(text))))
        if is_test_mode(text):
            named = f"{TEST_MODE_PREFIX} {named}"
        if len(named) > MAX_CHARS:
            raise ScoringError(f"{len(named)} characters stand for a text of {len(text)}; scoring reads {MAX_CHARS}")
        return named

    def round(self, inputs: RoundInputs) -> RoundInputs:
        """A round with names in place of words, and the digests of what they stand for.

        Raises ScoringError that names the challenge and the miner whose answer cannot be redacted.
        """
        try:
            return replace(
                inputs,
                request=None,
                prompt=self.text(inputs.prompt),
                responses=tuple(self._response(each) for each in inputs.responses),
                digests=digests_of(inputs),
            )
        except ScoringError as error:
            raise ScoringError(f"challenge {inputs.challenge_id} cannot be redacted: {error}") from error

    def _response(self, response: Response) -> Response:
        try:
            return replace(response, text=self.text(response.text), tool_calls=None)
        except ScoringError as error:
            raise ScoringError(f"the answer of {response.hotkey}: {error}") from error

    def context(self, context: ScoringContext) -> ScoringContext:
        """The same frequencies under the names of their words; its digest is that of the original."""
        named = {self.name(word): count for word, count in context.document_frequency.items()}
        return replace(context, document_frequency=dict(sorted(named.items())))
