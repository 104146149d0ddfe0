"""Why the network's method leaves an answer out of consensus: the words that stand in a score's row."""

from __future__ import annotations

LOW_QUALITY = "quality"
OUTLIER = "outlier"
OUTDONE = "better_outliers"
"""Removed because the outliers were so much better that they were kept instead."""
MINOR_CLUSTER = "cluster"
IRRELEVANT = "relevance"
"""Removed as the only reply of a round, for having nothing to do with the prompt."""
REMOVALS = (OUTLIER, OUTDONE, LOW_QUALITY, MINOR_CLUSTER)
