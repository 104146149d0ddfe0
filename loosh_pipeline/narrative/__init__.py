"""What happened in a round, in words.

The composed text repeats figures and uids only: no text of a miner, and not the id of a challenge, which a stranger
chose. A model is shown short excerpts, as data; what it writes is held against an alphabet, a vocabulary and the
figures before it is stored.
"""

from loosh_pipeline.narrative.composed import compose_narrative
from loosh_pipeline.narrative.facts import copy_groups, facts_of
from loosh_pipeline.narrative.narrator import Narrative, RoundNarrator

__all__ = ["Narrative", "RoundNarrator", "compose_narrative", "copy_groups", "facts_of"]
