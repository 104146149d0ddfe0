"""English function words: what any text in English is full of, whoever wrote it.

Kept here rather than taken from a library, whose next release could change it and with it every score, unseen.
"""

from __future__ import annotations

_ARTICLES_AND_PRONOUNS = """
a an the this that these those i me my mine myself you your yours yourself he him his himself she her hers herself
it its itself we us our ours ourselves they them their theirs themselves who whom whose which what one ones
someone something anyone anything everyone everything nothing none each every either neither both all any some
such other others another same own few many much more most several less least
"""
_VERBS = """
am is are was were be been being have has had having do does did doing done will would shall should can could may
might must ought get gets got make makes made go goes going let s t d ll m re ve don isn aren wasn weren doesn didn
won wouldn shouldn couldn can cannot
"""
_PREPOSITIONS_AND_CONJUNCTIONS = """
about above across after against along among around as at before behind below beneath beside besides between beyond
by despite down during except for from in inside into like near of off on onto or out outside over past per since
than through throughout till to toward towards under until up upon via with within without and but nor so yet
because although though while whereas if unless whether when whenever where wherever why how
"""
_ADVERBS = """
again almost already also always away back else even ever further hence here however indeed instead just later maybe
meanwhile moreover never nevertheless no not now often once only otherwise perhaps quite rather really still then
there therefore thus together too very well first last next yes
"""

FUNCTION_WORDS = frozenset(f"{_ARTICLES_AND_PRONOUNS} {_VERBS} {_PREPOSITIONS_AND_CONJUNCTIONS} {_ADVERBS}".split())
