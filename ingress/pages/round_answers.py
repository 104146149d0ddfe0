"""The answers of a round as its page shows them side by side: pure functions over what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ingress.pages.passages import Passage, cut, passage
from ingress.pages.round_copies import Alike, CopyGroup, alikes, groups_of, with_window
from ingress.pages.round_facts import RoundFacts, Scored
from ingress.pages.round_why import Why, whys
from loosh_pipeline.domain import Hotkey, Outcome, Response
from loosh_pipeline.scoring.explanation import REASONS, short
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.result import Score
from loosh_pipeline.store.settled import SettledAnswer, SettledRound

TEXTS_ROOM = 64_000
"""Bytes of a page that all answers may take together."""
TEXT_ROOM = 6_000
"""And a single one: some thousand words."""
LEAST_ROOM = 200
DETAIL_ROOM = 400
FINISH_ROOM = 60
UNPAID = SettledAnswer(payout=0.0, share=0.0, trust=1.0, sources=())
BY_ITS_WINDOW = "judged together with the other rounds of its window, nothing is left of its pay"
MOST = 128
"""Answers that are shown each by itself; a page of more would be too long for anybody."""
MOST_ALIKE = 12
"""Copies that are named beside an answer, with how alike they are."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of asking one miner. `rank`: by its pay, 1 for the most; `reason`: why it is paid nothing, in words.

    `beside`: what it is paid under the other stored profiles; `settled`: what its window made of it. `group` and
    `alike`: of whose answer it is a copy.
    """

    hotkey: Hotkey
    name: str
    outcome: Outcome
    response: Response | None
    score: Score | None
    rank: int | None
    reason: str
    detail: str
    text: Passage | None
    beside: Mapping[str, float]
    group: CopyGroup | None
    alike: tuple[Alike, ...]
    why: Why | None
    settled: SettledAnswer | None

    @property
    def pay(self) -> float | None:
        """What weights are made of: the settled pay, or that of the round alone where it was not settled."""
        return self.alone if self.settled is None or self.score is None else self.settled.payout

    @property
    def alone(self) -> float | None:
        """Its pay by this round alone."""
        return None if self.score is None else self.score.payout

    @property
    def finish(self) -> str:
        """Why the miner says that it ended."""
        return cut((self.response and self.response.finish_reason) or "", FINISH_ROOM)

    @property
    def told_alike(self) -> tuple[Alike, ...]:
        """Of a large group, the most alike."""
        return self.alike[:MOST_ALIKE]

    @property
    def answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED


@dataclass(frozen=True, eq=False)
class Answers:
    """The best paid of everybody asked, in order. `copies`: None where nobody looked for any. `asked`, `paid` and
    `outcomes` (how many asks ended how, answered ones first, then the commonest) are of all, shown or not.
    """

    each: tuple[Answer, ...]
    copies: tuple[CopyGroup, ...] | None
    asked: int
    paid: int
    outcomes: Mapping[str, int]

    @property
    def left_out(self) -> int:
        """How many are not shown."""
        return self.asked - len(self.each)

    @property
    def voters(self) -> tuple[Answer, ...]:
        """Those whose votes counted for anybody who is explained."""
        heard = {hotkey for answer in self.each if answer.why for hotkey in answer.why.votes}
        return tuple(answer for answer in self.each if answer.hotkey in heard)


def answers_of(facts: RoundFacts) -> Answers:
    """What the tables of a round say of everybody who was asked."""
    responses = {each.hotkey: each for each in facts.responses}
    scores = {each.hotkey: each for each in facts.paying.scores.scores} if facts.paying else {}
    pays = {each: _pay(score, facts.settled) for each, score in scores.items()}
    hotkeys = sorted({**responses, **scores}, key=lambda each: _order(responses.get(each), pays, scores, each))
    names = {each: _name(each, responses.get(each)) for each in hotkeys}
    looked = next((each for each in facts.scored.values() if each.scores.profile != NetworkProfile.name), None)
    alone = looked.scores if looked else None
    together = with_window(alone, facts.settled) if alone else None
    groups = groups_of(together, names)
    others = _others(facts)
    explained = whys(facts.paying, [each for each in hotkeys if each in scores], names)
    same_source = alikes(hotkeys[:MOST], together, alone, names)
    room = max(LEAST_ROOM, min(TEXT_ROOM, TEXTS_ROOM // max(1, len(hotkeys))))
    shown = tuple(
        Answer(
            hotkey=hotkey,
            name=names[hotkey],
            outcome=_outcome(responses.get(hotkey), scores.get(hotkey)),
            response=responses.get(hotkey),
            score=scores.get(hotkey),
            rank=_rank(hotkey, pays),
            reason=_reason(responses.get(hotkey), scores.get(hotkey), pays.get(hotkey)),
            detail=_detail(responses.get(hotkey)),
            text=_text(responses.get(hotkey), room),
            beside={name: paid[hotkey] for name, paid in others.items() if hotkey in paid},
            group=next((each for each in groups or () if hotkey in each.hotkeys), None),
            alike=same_source.get(hotkey, ()),
            why=explained.get(hotkey),
            settled=_settled(hotkey, facts.settled),
        )
        for hotkey in hotkeys[:MOST]
    )
    paid = sum(each > 0 for each in pays.values())
    outcomes = _outcomes(_outcome(responses.get(each), scores.get(each)) for each in hotkeys)
    return Answers(shown, groups, len(hotkeys), paid, outcomes)


def _outcomes(each: Iterable[Outcome]) -> dict[str, int]:
    found = Counter(outcome.value for outcome in each)
    return dict(sorted(found.items(), key=lambda item: (item[0] != Outcome.ANSWERED, -item[1], item[0])))


def _others(facts: RoundFacts) -> dict[str, dict[Hotkey, float]]:
    """Payouts under every stored profile but the one that pays, by its name."""
    others: Sequence[Scored] = [each for each in facts.scored.values() if each is not facts.paying]
    return {each.scores.profile: {row.hotkey: row.payout for row in each.scores.scores} for each in others}


def _order(
    response: Response | None, pays: Mapping[Hotkey, float], scores: Mapping[Hotkey, Score], hotkey: Hotkey
) -> tuple[float, bool, int, str]:
    """The best paid first, then who answered, then by uid."""
    answered = _outcome(response, scores.get(hotkey)) is Outcome.ANSWERED
    return -pays.get(hotkey, 0.0), not answered, int(response.uid) if response else -1, hotkey


def _pay(score: Score, settled: SettledRound | None) -> float:
    return score.payout if settled is None else settled.answers.get(score.hotkey, UNPAID).payout


def _name(hotkey: Hotkey, response: Response | None) -> str:
    return f"uid {response.uid}" if response else short(hotkey)


def _outcome(response: Response | None, score: Score | None) -> Outcome:
    return response.outcome if response else score.outcome if score else Outcome.UNREACHABLE


def _rank(hotkey: Hotkey, pays: Mapping[Hotkey, float]) -> int | None:
    mine = pays.get(hotkey)
    return None if mine is None else 1 + sum(each > mine for each in pays.values())


def _settled(hotkey: Hotkey, settled: SettledRound | None) -> SettledAnswer | None:
    """Who is missing from a settled round was paid nothing."""
    return None if settled is None else settled.answers.get(hotkey, UNPAID)


def _reason(response: Response | None, score: Score | None, pay: float | None) -> str:
    if score is None:
        outcome = _outcome(response, score)
        return "" if outcome is Outcome.ANSWERED else REASONS.get(outcome, "")
    if pay:
        return ""
    if score.payout > 0:
        return BY_ITS_WINDOW
    return REASONS.get(score.reason, score.reason.replace("_", " ")) or "no peer agrees with it"


def _detail(response: Response | None) -> str:
    return cut(response.detail, DETAIL_ROOM) if response else ""


def _text(response: Response | None, room: int) -> Passage | None:
    return passage(response.text, room) if response and response.text else None
