"""docs/reference/http.md: what the ingress answers, from its own OpenAPI schema."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from ingress.main import create_app
from loosh_pipeline.settings import Settings
from tests.docs.tables import code, table

HEAD = """\
# HTTP API

What the ingress answers on `API_PORT`. The same is at `/docs` of a running one, to be tried; `/openapi.json` is for
programs. Times are in UTC. An error's `detail` says what was wrong. [Intake](../operating/intake.md) says who may push,
and the bounds.
"""
PAGES = {
    "/": "overview: whether all is well, and what to do",
    "/challenges": "all challenges, by `state`, `day` and `q`",
    "/rounds/ID": "one challenge: answers, scores, copies, the heatmap, whether the network was told",
    "/answers/HOTKEY/ID": "one answer whole, as plain text",
    "/requests/ID": "what was asked, whole, as plain text",
    "/heatmaps/ID.png": "the heatmap as a picture; `.json` as a Vega-Lite chart",
    "/miners": "all miners of an `epoch`, sorted",
    "/miners/HOTKEY": "one miner; `with=OTHER` sets another beside it",
    "/miners/HOTKEY/receipt": "why it has its weight",
    "/weights": "weights that were set, and when the next are due",
    "/sign-in": "where `PAGES_TOKEN` is given",
}
SEEN_BY = """
## Pages

For people, in HTML. A program on the validator's own machine sees them, whoever signed in with `PAGES_TOKEN` or holds
`CHALLENGE_PUSH_API_KEY`, and with `PAGES_PUBLIC` everybody: without canaries, and on the overview without paths,
addresses and reasons.
[Who may see them](../operating/intake.md#pages). `/sign-in` is open to all.

"""
Schema = dict[str, Any]


def page() -> str:
    schema = create_app(Settings.model_construct()).openapi()
    named = schema.get("components", {}).get("schemas", {})
    calls = [
        (operation.get("tags", ["other"])[0], method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    text = HEAD
    for tag, of_tag in groupby(calls, key=lambda each: each[0]):
        text += f"\n## {tag.capitalize()}\n"
        text += "".join(_call(method, path, operation, named) for _, method, path, operation in of_tag)
    return text + SEEN_BY + table(("page", "what"), ((code(path), what) for path, what in PAGES.items()))


def _call(method: str, path: str, operation: Schema, named: Schema) -> str:
    text = f"\n### {method} {path}\n\n{(operation.get('description') or operation.get('summary') or '').strip()}\n"
    if given := operation.get("parameters"):
        rows = (
            (code(each["name"]), each["in"], "yes" if each.get("required") else "no", each.get("description", ""))
            for each in given
        )
        text += "\n" + table(("parameter", "in", "required", "what it is"), rows)
    body = operation.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        if rows := _fields(content.get("schema", {}), named):
            text += f"\nBody, {code(kind)}:\n\n" + table(("field", "type", "required", "what it is"), rows)
    answers = (
        (code(status), _answer(answer, named)) for status, answer in sorted(operation.get("responses", {}).items())
    )
    return text + "\n" + table(("answer", "what"), answers)


def _answer(answer: Schema, named: Schema) -> str:
    content = answer.get("content", {}).get("application/json", {}).get("schema", {})
    names = ", ".join(code(name) for name in _resolved(content, named).get("properties", {}))
    headers = ", ".join(code(name) for name in answer.get("headers", {}))
    said = answer.get("description", "").replace("Successful Response", "done")
    return said + (f": {names}" if names else "") + (f"; header {headers}" if headers else "")


def _fields(schema: Schema, named: Schema) -> list[tuple[str, str, str, str]]:
    found = _resolved(schema, named)
    required = found.get("required", [])
    return [
        (code(name), _type(each, named), "yes" if name in required else "no", each.get("description", ""))
        for name, each in found.get("properties", {}).items()
    ]


def _type(schema: Schema, named: Schema) -> str:
    found = _resolved(schema, named)
    if kinds := found.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(each, named) for each in kinds if each.get("type") != "null"))
    bounds = [
        words.format(found[key])
        for key, words in (
            ("minimum", "≥ {}"),
            ("exclusiveMinimum", "> {}"),
            ("maximum", "≤ {}"),
            ("maxLength", "at most {} characters"),
        )
        if key in found and found[key] < 2**31 - 1
    ]
    return ", ".join([found.get("format") or str(found.get("type", "anything")), *bounds])


def _resolved(schema: Schema, named: Schema) -> Schema:
    reference = schema.get("$ref", "")
    return named.get(reference.rpartition("/")[2], schema) if reference else schema
