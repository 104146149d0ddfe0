"""A served validator and a browser that looks at it; both are started once for all tests here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import Service, free_ports, supervised
from tests.browser.crawling import Site, crawl, id_of
from tests.browser.home import CANARY, FAILED, HOSTILE_ID, WAITING, Home, eventful_home
from tests.browser.views import Served, View, Visit
from tests.chromium import NONE, QUIET, chromium

SECRET = "c4nary"
"""Begins every secret of the settings."""
TOKEN = f"{SECRET}-pages-token-0123456789"
SECRETS = {
    "PAGES_TOKEN": TOKEN,
    "CHALLENGE_PUSH_API_KEY": f"{SECRET}-push-key-0123456789",
    "CHALLENGE_API_KEY": f"{SECRET}-challenge-api-key",
    "LLM_API_KEY": f"{SECRET}-llm-key",
    "ALERT_WEBHOOK_URL": f"http://127.0.0.1:1/hook/{SECRET}-webhook",
    "SUBTENSOR_ADDRESS": f"ws://user:{SECRET}-chain-password@127.0.0.1:1/?key={SECRET}-chain-query",
    "SUBTENSOR_FALLBACKS": f"ws://user:{SECRET}-fallback-password@127.0.0.1:1/",
}
DAGSTER = "http://dagster.invalid:3000"
"""Where links to the Dagster UI lead: to nobody, so that whoever follows one is noticed."""


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with eventful_home(tmp_path_factory.mktemp("seen") / "home", SCORING_PROFILES="robust,network") as home:
        yield home


@contextmanager
def serving(settings: Settings, logs: Path, **environment: str) -> Iterator[Served]:
    """`python -m ingress` over a data directory; it takes challenges, however many wait."""
    (port,) = free_ports(1)
    given = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "DAGSTER_URL": DAGSTER, "UNCONSUMED_AFTER_S": "1e9"}
    env = settings.environment() | SECRETS | given | environment
    ingress = Service("ingress", [sys.executable, "-m", "ingress"], env, port)
    with supervised([ingress], logs, lambda line: print(line, file=sys.stderr)):
        yield Served(f"http://127.0.0.1:{port}", DAGSTER)


@pytest.fixture(scope="package")
def served(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pages, for a browser on the validator's own machine."""
    with serving(home.settings, tmp_path_factory.mktemp("logs")) as served:
        yield served


@pytest.fixture(scope="package")
def guarded(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same for one that has to sign in."""
    with serving(home.settings, tmp_path_factory.mktemp("logs"), INTAKE_LOCAL_AUTH="true") as served:
        yield served


@pytest.fixture(scope="package")
def site(served: Served) -> Site:
    """Everything that links lead to."""
    return crawl(served)


@pytest.fixture(scope="package")
def browser(home: Home) -> Iterator[Browser]:
    """After `home`, and no longer than these tests: Playwright keeps an event loop running in this thread, beside which
    no other can be run.
    """
    executable = chromium()
    if executable is None:
        pytest.skip(NONE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def samples(site: Site) -> list[str]:
    """A page of each kind, and the rounds with most to be wrong."""
    rounds = [each.path for each in site.pages() if id_of(each.path) in (HOSTILE_ID, FAILED, WAITING, CANARY)]
    return list(dict.fromkeys([*site.samples(1), *rounds]))


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """A window on the pages, as wide as a desk's and light; what goes wrong in it fails the test."""
    with View().visit(browser, served) as visit:
        yield visit
        visit.went_well()
