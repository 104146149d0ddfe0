"""Every command and every setting that the documents name is there."""

from __future__ import annotations

import re

import pytest

from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.legacy import OURS_BEFORE, RENAMED
from tests.docs.blocks import FENCE, PAGES, ROOT, commands, simple_commands
from tests.docs.known_commands import problems

SHOWN = commands("sh", "console", "")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
OURS = re.compile(r"(?:\S*/)?(?:loosh|make|python -m)\s")
SETTING = re.compile(r"^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?==|$)")
OTHERS = {
    "pip": {"PIP_FIND_LINKS"},
    "Dagster": {"DAGSTER_HOME"},
    "process managers and containers": {
        *("VALIDATOR_WORKDIR", "PYTHON_INTERPRETER", "VENV_NAME", "CONTAINER_NAME", "TORCH_CPU_INDEX"),
        *("DOCKER_UID", "POSTGRES_PASSWORD", "SHARED_DIR", "WORKER_RUNS", "COMPOSE_COMPUTE"),
    },
    "any program": {"HTTPS_PROXY", "SQLITE_TMPDIR", "LOG_FILE", "RUN_ID"},
    "the existing validator": {
        *("SENTENCE_TRANSFORMER_MODEL", "MAX_CONCURRENT_AVAILABILITY_CHECKS", "CHALLENGE_MODE"),
        *("HEATMAP_UPLOAD_URL", "MAX_CONCURRENT_CHALLENGES"),
    },
}
"""Names in capitals that are nobody's settings here, by whose they are."""


def spans() -> dict[str, str]:
    """Code in the text of the pages, with the first page that has it."""
    found: dict[str, str] = {}
    for path in PAGES:
        for span in SPAN.findall(FENCE.sub("", path.read_text("utf-8"))):
            found.setdefault(" ".join(span.split()), str(path.relative_to(ROOT)))
    return found


SPANS = spans()


WRONG = {"loosh statuss"}
"""Shown for what is said of it."""


@pytest.mark.parametrize("command", [command for command in SHOWN if command not in WRONG])
def test_a_command_in_a_fence_is_known(command: str) -> None:
    found = [problem for words in simple_commands(command) for problem in problems(words)]
    assert found == [], SHOWN[command]


@pytest.mark.parametrize("span", [span for span in SPANS if OURS.match(span)])
def test_a_command_in_the_text_is_known(span: str) -> None:
    found = [problem for words in simple_commands(span) for problem in problems(words)]
    assert found == [], SPANS[span]


def test_names_in_capitals_are_settings() -> None:
    known = (
        {name.upper() for name in Settings.model_fields}
        | set(RENAMED)
        | set(OURS_BEFORE)
        | set().union(*OTHERS.values())
    )
    named = {found[0]: page for span, page in SPANS.items() if (found := SETTING.match(span))}
    assert len(named) > 80
    assert {name: page for name, page in named.items() if name not in known} == {}


def test_what_an_env_file_shows_are_settings() -> None:
    shown = {
        name
        for path in PAGES
        for language, text in FENCE.findall(path.read_text("utf-8"))
        if language == "ini"
        for name in re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)
    }
    assert shown
    assert shown <= {name.upper() for name in Settings.model_fields}
