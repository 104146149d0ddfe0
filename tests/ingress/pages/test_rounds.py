"""The page of one challenge: what it says of every state a challenge can be in, and of hostile words."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from ingress.pages.loading import Loading
from ingress.pages.round_story import ASSETS
from loosh_pipeline.domain import ChallengeId, ChallengeState, Hotkey, Outcome
from loosh_pipeline.heatmap import round_heatmap, spec_json, specification
from loosh_pipeline.scoring.profiles import profile_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries, CanaryMark, mark
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.store.score_tables import CANARIES, PAIRS, SCORES, ScoreTables
from loosh_pipeline.store.settled import SettledAnswer, SettledRound, SettledRounds
from loosh_pipeline.store.tables import Tables, file_stem
from tests.ingress.conftest import AWAY, HERE, Serve
from tests.ingress.pages.stored import ANSWERS, accepted, collected, key_of, responses_to, scored, told, whole_round

MOST_BYTES = 200_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe \0 \x1b[31m 👩‍🔬 & \" '"
HTML = {"accept": "text/html"}


def page_of(client: TestClient, challenge_id: str, status: int = 200) -> str:
    found = client.get(f"/rounds/{quote(challenge_id, safe='')}", headers=HTML)
    assert found.status_code == status, found.text[:2000]
    assert len(found.content) < MOST_BYTES
    return found.text


def text_of(page: str) -> str:
    """What a page says, without its charts, in one line."""
    bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_it_answers_what_was_asked_who_was_paid_and_whether_it_was_told(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    said = text_of(page_of(client, "c-1"))
    assert "Why is the sky blue during the day?" in said
    assert "answered 4 of 5" in said
    assert "1 timeout" in said
    assert "Was its result delivered? yes, tried once" in said
    assert "it said: HTTP 200" in said
    assert "by robust" in said
    assert "loosh challenges show c-1" in said
    assert "loosh rescore c-1" in said


def test_copies_are_named_at_the_top_and_marked_on_each(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    page = page_of(client, "c-1")
    said = text_of(page)
    assert "1 group of copies. Answers of one source are paid once" in said
    assert "copies A uid 3, uid 5: worded 100 % alike" in said
    assert "copies A same source as uid 5 (100 % alike)" in said
    assert page.count('<article class="card answer copy-0"') == 2


def test_of_many_who_were_asked_all_are_counted_and_the_best_are_shown(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    honest = {name: ANSWERS[name] for name in ("hotkey-1", "hotkey-2")}
    copies = {f"copy-{n:03d}": ANSWERS["hotkey-3"] for n in range(15)}
    late = {f"late-{n:03d}": Outcome.TIMEOUT for n in range(183)}
    whole_round(settings, answers={**honest, **copies, **late})
    page = page_of(client, "c-1")
    said = text_of(page)
    assert "answered 17 of 200 183 timeout" in said
    assert "paid 17 by this round alone, by robust" in said
    assert page.count('<article class="card answer') == 128
    assert "72 more were asked, of 200: here and in the tables below are the 128 that were paid the most" in said
    assert re.search(r"same source as (uid \d+ \(100 % alike\), ){11}uid \d+ \(100 % alike\) and 2 more", said)


def test_once_there_are_scores_its_page_is_asked_for_less_often(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    named = accepted(settings)
    collected(settings, named)
    assert 'id="progress" data-fresh="3"' in page_of(client, "c-1")
    scored(settings, named)
    assert 'id="progress" data-fresh="15"' in page_of(client, "c-1")


def test_without_copies_it_says_so(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings, answers={name: said for name, said in ANSWERS.items() if name != "hotkey-5"})
    assert "No copies found among the 3 answers that could be compared." in text_of(page_of(client, "c-1"))


def test_each_answer_says_why_it_was_paid_that(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    said = text_of(page_of(client, "c-1"))
    assert "It is taken for one source with uid 5 to" in said
    assert "It shares one pay with one copy" in said
    assert "Challenge c-1: hotkey" not in said
    assert "Paid nothing: no answer came in time." in said
    assert "seen: timeout" in said
    assert said.count("What would have changed it") == 5
    assert "Who voted for whom" in said


def test_the_best_paid_comes_first(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    pay = [float(each) for each in re.findall(r'class="pay">([0-9.]+)', page_of(client, "c-1"))]
    assert pay == sorted(pay, reverse=True)
    assert len(pay) == 5


def test_where_its_window_was_settled_that_pay_leads_and_ranks(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(HERE)
    whole_round(settings)
    before = page_of(client, "c-1")
    assert "pay by this round alone, rank 1 of 5" in text_of(before)
    assert "by this round alone</small>" not in before
    pays = {"hotkey-1": 0.0, "hotkey-2": 0.25, "hotkey-3": 1.75}
    answers = {Hotkey(each): SettledAnswer(pay, 1.0, 1.0, ()) for each, pay in pays.items()}
    monkeypatch.setattr(SettledRounds, "of", lambda *_: SettledRound(datetime.now(UTC), answers))
    page = page_of(client, "c-1")
    assert re.findall(r'class="pay">([0-9.]+)', page)[:3] == ["1.750", "0.250", "0.000"]
    assert "1.750 settled pay, rank 1 of 5" in text_of(page)
    assert "settled pay, rank 3 of 5" in text_of(page)
    assert "Paid nothing: judged together with the other rounds of its window" in text_of(page)


def test_what_is_seldom_read_is_folded_and_a_line_leads_to_all_of_it(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    page = page_of(client, "c-1")
    (contents,) = re.findall(r'<nav class="contents".*?</nav>', page, flags=re.DOTALL)
    places = re.findall(r'href="#([a-z]+)"', contents)
    assert places == ["asked", "answers", "pay", "signals", "votes", "heatmap", "narrative", "elsewhere"]
    assert all(page.count(f'id="{each}"') == 1 for each in places)
    assert '<details class="table" id="votes">' in page
    early = page_of(client, accepted(settings, "c-2"))
    assert 'href="#pay"' not in early


def test_pay_under_every_stored_profile_stands_side_by_side(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings, profiles=("robust", "network"))
    said = text_of(page_of(client, "c-1"))
    assert "by this round alone, robust by network" in said
    assert "by network 0." in said


def test_one_that_only_the_network_scored_says_that_another_pays_now(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings, profiles=("network",))
    said = text_of(page_of(client, "c-1"))
    assert "PAY_PROFILE is robust now, and it was scored by network alone" in said
    assert "Nobody looked for copies" in said


def test_before_its_miners_are_asked_there_is_what_was_asked(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    accepted(settings)
    page = page_of(client, "c-1")
    assert 'id="progress" data-fresh="3"' in page
    assert "No answers yet: it waits for a run, which asks the miners." in text_of(page)
    assert "Was its result delivered? not yet: there is no result to deliver" in text_of(page)


def test_before_there_are_scores_there_are_the_answers(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    collected(settings, accepted(settings))
    said = text_of(page_of(client, "c-1"))
    assert "air scatters blue light" in said
    assert "No scores yet: its answers are being scored." in said
    assert "no answer came in time" in said


def test_one_that_was_given_up_says_why(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    accepted(settings)
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).values(state="failed", next_run_at=None, failure="<b>lost</b>"))
    inbox.engine.dispose()
    page = page_of(client, "c-1")
    assert "&lt;b&gt;lost&lt;/b&gt;" in page
    assert "Was its result delivered? no: it was given up" in text_of(page)
    assert "loosh retry" in text_of(page)


def test_what_the_api_refused_stands_with_its_answer(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    named = accepted(settings)
    collected(settings, named)
    scored(settings, named)
    assert "not yet: it waits for its turn" in text_of(page_of(client, named))
    told(settings, "HTTP 422: <script>no</script>", refused=True)
    page = page_of(client, named)
    assert "refused, tried once; `loosh retry` delivers it again" in page
    assert "HTTP 422: &lt;script&gt;no&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        ("miner_responses", "No answers here: their table is gone"),
        (SCORES, "No scores here: their table is gone"),
        (PAIRS, "No pairs under robust here: their table is gone or broken"),
    ],
)
def test_a_table_that_is_gone_takes_nothing_else_with_it(
    serve: Serve, settings: Settings, asset: str, said: str
) -> None:
    client = serve(HERE)
    whole_round(settings)
    for each in Path(settings.tables_root).glob(f"{asset}/*/*.parquet"):
        each.unlink()
    found = text_of(page_of(client, "c-1"))
    assert said in found
    assert "Why is the sky blue during the day?" in found


@pytest.mark.parametrize("asset", ["miner_responses", SCORES, PAIRS, "narratives", "scorers"])
def test_a_broken_table_is_named(serve: Serve, settings: Settings, asset: str) -> None:
    client = serve(HERE)
    whole_round(settings)
    for each in Path(settings.tables_root).glob(f"{asset}/*/*.parquet"):
        each.write_bytes(b"no parquet at all")
    found = text_of(page_of(client, "c-1"))
    assert "Why is the sky blue during the day?" in found
    assert "here:" in found


@pytest.mark.parametrize("identity", ["a%00b", "%00", "a%E2%80%AEb", "%ED%A0%80", "x" * 129, "%FF"])
def test_what_can_be_no_id_is_unknown_and_no_database_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, identity: str
) -> None:
    client = serve(HERE, pages_public=True)
    asked: list[str] = []
    monkeypatch.setattr(Inbox, "get", lambda _, named: asked.append(named))
    monkeypatch.setattr(Canaries, "among", lambda _, ids: frozenset(map(asked.append, ids)))
    for path in ("rounds", "requests", "answers/hotkey-1"):
        answer = client.get(f"/{path}/{identity}")
        assert (answer.status_code, "was accepted here" in answer.json()["detail"]) == (404, True)
    assert [each for each in asked if not each.isprintable() or len(each) > 128] == []


def test_strangers_read_no_paths_addresses_or_what_went_wrong(serve: Serve, settings: Settings) -> None:
    secret = "inner-host/home/operator"
    named = accepted(settings, "c-1")
    collected(settings, named)
    scored(settings, named)
    told(settings, f"HTTP 500 {secret}", refused=True)
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).values(state="failed", next_run_at=None, failure=f"no {secret}"))
    inbox.engine.dispose()
    for each in Path(settings.tables_root).glob("miner_responses/*/*.parquet"):
        each.write_bytes(b"no parquet at all")
    private = (secret, str(settings.tables_root), "dagster.example")
    ours = serve(HERE, dagster_url="http://dagster.example")
    public = serve(AWAY, pages_public=True, dagster_url="http://dagster.example")
    paths = ("/rounds/c-1", "/answers/hotkey-1/c-1")
    here, away = ("".join(client.get(path).text for path in paths) for client in (ours, public))
    assert [each for each in private if each not in here] == []
    assert [each for each in private if each in away] == []
    assert "it cannot be read; the operator sees why" in away


def test_one_nobody_knows_is_not_found(serve: Serve) -> None:
    client = serve(HERE)
    assert "no challenge" in page_of(client, "no<b>body", 404)
    assert "no&lt;b&gt;body" in page_of(client, "no<b>body", 404)
    assert client.get("/answers/h/nobody").status_code == 404
    assert client.get("/requests/nobody").status_code == 404


IDS = ("a/b", "a b", "100%", "a?b=c#d", "été 汉字", "x/answers/hotkey-1", "../up", "-x", "'; rm -rf")


@pytest.mark.parametrize("challenge_id", IDS)
def test_any_id_has_its_page_and_its_links_lead_back(serve: Serve, settings: Settings, challenge_id: str) -> None:
    client = serve(HERE)
    whole_round(settings, challenge_id)
    page = page_of(client, challenge_id)
    assert html.escape(challenge_id, quote=False) in html.unescape(page).replace("&", "&amp;") or challenge_id in page
    assert quote(challenge_id, safe="") in page
    answer = client.get(f"/answers/hotkey-1/{quote(challenge_id, safe='')}")
    assert answer.text == ANSWERS["hotkey-1"]
    asked = client.get(f"/requests/{quote(challenge_id, safe='')}")
    assert json.loads(asked.text)["id"] == challenge_id


def test_hostile_words_are_words(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    answers = {"hotkey-1": HOSTILE, "hotkey-2": HOSTILE + " more", "hotkey-3": "plain words about the sky being blue"}
    whole_round(settings, answers=answers, prompt=HOSTILE, metadata={"<b>": HOSTILE}, messages=None)
    page = page_of(client, "c-1")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "\0" not in page
    assert "👩‍🔬" in page


def test_huge_texts_are_cut_and_lead_to_the_whole(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    long, lines = "&" * 200_000, "line\n" * 30_000
    answers: dict[str, str | Outcome] = {f"hotkey-{n}": (long, lines, "<" * 50_000)[n % 3] for n in range(20)}
    named = accepted(settings, prompt="&" * 200_000)
    collected(settings, named, answers)
    page = page_of(client, named)
    assert "of 200,000 characters are on this page" in page
    whole = client.get("/answers/hotkey-0/c-1")
    assert whole.text == long
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]


def test_a_conversation_is_shown_message_by_message(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    questions = [{"role": "user", "content": f"Why {n}?"} for n in range(40)]
    messages = [{"role": "system", "content": "Be <i>brief</i>."}, *questions]
    accepted(settings, prompt=None, messages=messages, tools=[{"type": "function", "function": {"name": "look"}}])
    page = page_of(client, "c-1")
    assert "Why 39?" in page
    assert "17 earlier messages" in page
    assert "&#34;look&#34;" in page


def test_many_miners_fit_on_a_page(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    named = accepted(settings)
    collected(settings, named, {f"hotkey-{n}": f"Answer {n}. " + "word " * 3000 for n in range(200)})
    assert "72 more were asked" in page_of(client, named)


def chart_in(page: str) -> dict[str, object]:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    chart: dict[str, object] = json.loads(found)
    return chart


def test_the_chart_has_neither_title_nor_colours_of_its_own(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    named = whole_round(settings)
    inbox = Inbox.open(settings.inbox_url)
    scores = ScoreTables(Tables(settings.tables_root))
    version = scores.newest_rows(key_of(inbox, named), profile_of("robust"))["scorer_version"][0]  # type: ignore[index]
    chart = round_heatmap(
        inbox.get(named).challenge(), scores.read(key_of(inbox, named), version), responses_to(named, ANSWERS)
    )
    inbox.engine.dispose()
    kept = settings.heatmaps_root / f"{file_stem(named)}.json"
    kept.write_text(spec_json(specification(chart)))
    (settings.heatmaps_root / f"{file_stem(named)}.png").write_bytes(b"png")
    page = page_of(client, named)
    drawn = json.dumps(chart_in(page))
    assert "Challenge c-1" not in drawn
    assert "#333" not in drawn
    assert '"background"' not in drawn
    assert "heatmaps/c-1.png" in page
    kept.write_text("broken")
    assert chart_in(page_of(client, named)) == chart_in(page)


def test_a_chart_of_which_no_picture_is_kept_is_drawn_once(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, drawn = serve(HERE), Mock(wraps=specification)
    monkeypatch.setattr("loosh_pipeline.heatmap.specification", drawn)
    whole_round(settings)
    assert chart_in(page_of(client, "c-1")) == chart_in(page_of(client, "c-1"))
    assert drawn.call_count == 1
    whole_round(settings, "c-2")
    page_of(client, "c-2")
    assert drawn.call_count == 2


def test_while_what_draws_it_is_loaded_the_page_is_there_without_it(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(HERE)
    monkeypatch.setattr("ingress.pages.round_heatmap.LOADING", Loading(Mock()))
    whole_round(settings)
    page = page_of(client, "c-1")
    said = text_of(page)
    assert "The chart is being drawn: it is here when this page is loaded again ." in said
    assert "answered 4 of 5" in said
    assert "vega" not in page


def test_that_nothing_can_draw_it_is_said(serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(HERE)
    monkeypatch.setattr("loosh_pipeline.heatmap.specification", Mock(side_effect=ImportError("no altair")))
    whole_round(settings)
    assert "There is no chart: what draws it cannot be loaded: no altair." in text_of(page_of(client, "c-1"))


@pytest.mark.parametrize("kind", ["png", "json"])
def test_where_miners_may_read_there_is_no_picture_of_a_canary(serve: Serve, settings: Settings, kind: str) -> None:
    """Nor of any other: what is there would tell them which are missing."""
    mine, public = serve(HERE), serve(AWAY, pages_public=True)
    inbox = Inbox.open(settings.inbox_url)
    for name in ("canary", "c-1"):
        accepted(settings, name)
        (settings.heatmaps_root / f"{file_stem(name)}.{kind}").write_bytes(b"drawn")
    with inbox.engine.begin() as connection:
        mark(connection, ChallengeId("canary"), CanaryMark([], "q"), datetime.now(UTC))
    inbox.engine.dispose()
    assert mine.get(f"/heatmaps/canary.{kind}").content == b"drawn"
    refusals = {public.get(f"/heatmaps/{name}.{kind}").text for name in ("canary", "c-1", "none")}
    assert len(refusals) == 1
    assert public.get(f"/heatmaps/canary.{kind}").status_code == 403


def test_too_few_answers_make_no_chart(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings, answers={"hotkey-1": "Only one answered.", "hotkey-2": Outcome.EMPTY})
    said = text_of(page_of(client, "c-1"))
    assert "There is no chart: fewer than two answers could be compared." in said
    assert "Too few answers could be compared to tell copies." in said


def test_the_narrative_says_where_it_comes_from(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    whole_round(settings)
    page = page_of(client, "c-1")
    assert "composed from the figures alone" in text_of(page)
    assert "5 miners asked, 4 answered" in text_of(page)
    assert "**" not in page


def canary(settings: Settings, challenge_id: str = "c-2") -> ChallengeId:
    named = accepted(settings, challenge_id)
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.begin() as connection:
        mark(connection, named, CanaryMark(["blue"], "q"), datetime.now(UTC))
    inbox.engine.dispose()
    collected(settings, named)
    scored(settings, named, shelf=CANARIES)
    return named


def test_a_canary_is_one_for_the_operator_and_unknown_where_all_may_look(serve: Serve, settings: Settings) -> None:
    old, new = datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC) + timedelta(hours=2)
    accepted(settings, "c-1", old)
    named = canary(settings)
    accepted(settings, "c-3", new)
    mine, public = serve(HERE), serve(HERE, pages_public=True)
    said = text_of(page_of(mine, named))
    assert "canary" in said
    assert "never: it is a canary, of which nobody outside is told" in said
    assert "copies A" in said
    assert "rounds/c-2" in page_of(mine, "c-1")
    unknown = page_of(public, "c-9", 404)
    assert page_of(public, named, 404) == unknown.replace("c-9", "c-2")
    assert public.get("/answers/hotkey-1/c-2").status_code == 404
    assert public.get("/requests/c-2").status_code == 404
    assert 'rel="next" href="../rounds/c-3"' in page_of(public, "c-1")


@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_where_canaries_are_asked_strangers_are_told_nothing_of_any_challenge(
    serve: Serve, settings: Settings, rate: float, tmp_path: Path
) -> None:
    """In the same words of what was pushed, what is a canary and what never came: none can be told from the rest."""
    accepted(settings, "c-1")
    if not rate:
        canary(settings)
    questions = tmp_path / "canaries.jsonl"
    questions.write_text('{"prompt": "2 + 2?", "accepted": [4]}')
    public = serve(AWAY, pages_public=True, canary_rate=rate, canaries_file=questions)
    paths = [f"/{kind}/{each}" for kind in ("rounds", "requests", "answers/hotkey-1") for each in ("c-1", "c-2", "c-9")]
    paths += ["/challenges", "/challenges?q=blue", "/challenges?q=nothing", "/heatmaps/c-1.png", "/heatmaps/c-2.json"]
    answers = [public.get(path) for path in paths]
    assert {each.status_code for each in answers} == {403}
    assert len({each.text for each in answers}) == 1
    assert "known answer" in answers[0].json()["detail"]
    overview = public.get("/").text
    assert "They are for the operator alone" in overview
    assert "in the last hour" not in overview
    assert not any(each in overview for each in ("c-1", "c-2", "blue"))


def test_its_neighbours_are_a_click_away(serve: Serve, settings: Settings) -> None:
    now = datetime.now(UTC)
    for place, name in enumerate(("a/1", "b", "c")):
        accepted(settings, name, now + timedelta(seconds=place))
    page = page_of(serve(HERE), "b")
    assert 'rel="prev" href="../rounds/a%2F1"' in page
    assert 'rel="next" href="../rounds/c"' in page
    assert 'rel="prev"' not in page_of(serve(HERE), "a/1")


def test_it_leads_into_dagster(serve: Serve, settings: Settings) -> None:
    client = serve(HERE, dagster_url="http://dagster.example")
    whole_round(settings, "a/b")
    page = page_of(client, "a/b")
    for asset in ASSETS:
        assert f"http://dagster.example/assets/{asset}?view=partitions&amp;partition=a%2Fb" in page


@pytest.mark.parametrize("asset", ASSETS)
def test_what_it_leads_to_has_a_partition_for_every_challenge(asset: str) -> None:
    source = Path(__file__).resolve().parents[3] / "assets" / f"{asset}.py"
    assert "partitions_def=challenge_partitions" in source.read_text(encoding="utf-8")


def test_strangers_see_none_of_it(serve: Serve, settings: Settings) -> None:
    client = serve(AWAY)
    whole_round(settings)
    for path in ("/rounds/c-1", "/answers/hotkey-1/c-1", "/requests/c-1"):
        assert client.get(path).status_code == 403


def test_states_are_those_that_the_page_knows() -> None:
    from ingress.pages.round_facts import NOT_YET

    assert NOT_YET.keys() | {ChallengeState.SCORED, ChallengeState.SUBMITTED} == set(ChallengeState)
