"""How many of a prompt's key terms a reply uses: stands in for coverage where a prompt has no parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

MAX_FEATURES = 5000
MAX_KEYWORDS = 10


def prompt_keywords(prompt: str, texts: Sequence[str]) -> list[str]:
    """The prompt's words and pairs of words of highest TF-IDF among prompt and replies; none where all are common."""
    vectorizer = TfidfVectorizer(max_features=MAX_FEATURES, stop_words="english", ngram_range=(1, 2))
    try:
        weights = vectorizer.fit_transform([prompt, *texts])[0].toarray().ravel()
    except ValueError:  # the one it raises for a vocabulary of nothing but stop words
        return []
    # The default sort, as a stable one takes other terms of equal weight than the recorded rounds did.
    best = np.argsort(weights)[::-1][:MAX_KEYWORDS]
    terms = vectorizer.get_feature_names_out()
    return [str(terms[i]) for i in best if weights[i] > 0]


def keyword_share(text: str, keywords: Sequence[str]) -> float:
    """Share of `keywords`, at least one, that occur anywhere in the lower-case text, inside words too."""
    lower = text.lower()
    return sum(keyword in lower for keyword in keywords) / len(keywords)
