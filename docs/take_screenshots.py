"""Takes the pictures of this documentation from a running demo.

    python -m docs.take_screenshots DAGSTER_URL INGRESS_URL [OUT_DIR]

Needs a Chromium (`CHROMIUM`, by default the one on the PATH); Playwright brings none here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.chromium import QUIET, chromium

DARK = ("round",)
"""Of the operator's pages, those that are taken in dark colours, too."""
COPIES, HTML = "copy-", {"accept": "text/html"}
WINDOW: ViewportSize = {"width": 1280, "height": 900}


def main(dagster_url: str, ingress_url: str, out_dir: Path) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    key = newest_scored(dagster_url)
    pages = {
        "asset-graph": f"{dagster_url}/asset-groups",
        "heatmap-partition": f"{dagster_url}/assets/heatmaps?view=partitions&partition={key}",
        "scores-partition": f"{dagster_url}/assets/consensus_scores?view=partitions&partition={key}",
        "runs": f"{dagster_url}/runs",
        "api": f"{ingress_url}/docs",
        "weights": f"{dagster_url}/assets/weights?view=overview",
        "proposal-checks": f"{dagster_url}/assets/weight_proposal?view=checks",
        "automation": f"{dagster_url}/automation",
    }
    own = pages_of(ingress_url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        for name, url in pages.items():
            shoot(page, url, out_dir / f"{name}.png")
        for scheme, names in {"light": tuple(own), "dark": DARK}.items():
            page = browser.new_page(viewport=WINDOW, color_scheme=scheme)
            for name in names:
                shoot_own(page, own[name], out_dir / f"page-{name}{'-dark' * (scheme == 'dark')}.png")
        browser.close()
    (out_dir / "heatmap.png").write_bytes(httpx.get(f"{ingress_url}/heatmaps/{key}.png").content)


def pages_of(ingress_url: str) -> dict[str, str]:
    """The operator's pages by name: of a round with copies, where one of the newest has any, and of the first miner."""
    rounds, miners = ([*linked(ingress_url, name, to)] for name, to in (("challenges", "rounds"), ("miners", "miners")))
    if not (rounds and miners):
        raise SystemExit(f"{ingress_url} has {len(rounds)} challenges and {len(miners)} miners: wait for its weights")
    copied = (each for each in rounds if COPIES in httpx.get(f"{ingress_url}/{each}", headers=HTML).text)
    paths = {"overview": "", "challenges": "challenges", "round": next(copied, rounds[0]), "miners": "miners"}
    return {name: f"{ingress_url}/{path}" for name, path in {**paths, "miner": miners[0], "weights": "weights"}.items()}


def linked(ingress_url: str, page: str, to: str) -> dict[str, None]:
    """The pages of one kind that a page links to, each once, in their order."""
    html = httpx.get(f"{ingress_url}/{page}", headers=HTML).text
    return dict.fromkeys(re.findall(rf'href="(?:\./)?({to}/[^"?#]+)', html))


def shoot_own(page: Page, url: str, path: Path) -> None:
    """The whole of a page, with its charts and what it fetches by itself."""
    page.goto(url, wait_until="networkidle")
    page.wait_for_timeout(1500)
    page.screenshot(path=str(path), full_page=True)
    print(path)


def shoot(page: Page, url: str, path: Path) -> None:
    page.goto(url, wait_until="load")
    page.wait_for_timeout(5000)  # the UI draws its graph and asks for data after it has loaded
    if path.stem == "asset-graph":
        expand_groups(page)
    page.screenshot(path=str(path))
    print(path)


def expand_groups(page: Page) -> None:
    """Show assets instead of boxes of groups, as large as the window allows."""
    page.set_viewport_size({"width": 1700, "height": 1350})
    page.get_by_text("Hide navigation").click()
    page.locator("button[class*=filled]:has([aria-label='panel_show_right'])").click()  # the list of assets
    page.mouse.click(1000, 250, button="right")
    page.get_by_role("menuitem", name="Expand all groups").click()
    page.wait_for_timeout(3000)
    page.mouse.move(700, 1300)


def newest_scored(dagster_url: str) -> str:
    query = '{ assetNodes(assetKeys: [{path: ["heatmaps"]}]) { assetMaterializations(limit: 1) { partition } } }'
    answer = httpx.post(f"{dagster_url}/graphql", json={"query": query}).json()
    return str(answer["data"]["assetNodes"][0]["assetMaterializations"][0]["partition"])


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/"), Path(sys.argv[3] if len(sys.argv) > 3 else "docs/images"))
