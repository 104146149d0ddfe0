"""What is wrong with a page as a browser shows it: by probes that run in the page and say what they found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

PROBES = Path(__file__).with_name("probes")
STRUCTURE, CONTRAST, STOPS, FOCUSED = (
    (PROBES / f"{name}.js").read_text() for name in ("structure", "contrast", "stops", "focused")
)
FROM_THE_TOP = """() => {
  for (let timer = 1; timer < 100; timer++) clearInterval(timer);
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
}"""
MOST_STOPS = 1500


def defects(page: Page) -> list[str]:
    """What is wrong with its structure, width and colours."""
    return [*page.evaluate(STRUCTURE), *page.evaluate(CONTRAST)]


def walked(page: Page) -> list[str]:
    """What is wrong with going through it by Tab alone, from its top. Nothing on it is fetched anew meanwhile."""
    page.evaluate(FROM_THE_TOP)
    stops: list[str] = page.evaluate(STOPS)
    reached: list[int] = []
    problems = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        at: dict[str, Any] | None = page.evaluate(FOCUSED)
        if at is None or at["stop"] in reached[:-1]:
            break
        if at["stop"] not in (None, *reached):  # what scrolls is a stop, too, and a date is several
            reached.append(at["stop"])
        problems += [f"no ring around {at['what']}"] * (not at["ringed"])
        problems += [f"out of sight: {at['what']}"] * (not at["seen"])
    else:
        problems.append(f"Tab does not come out after {MOST_STOPS} stops")
    problems += [f"never reached: {stops[place]}" for place in range(len(stops)) if place not in reached]
    if reached != sorted(reached):
        problems.append(f"out of order: {[stops[place] for place in reached]}")
    return problems
