"""Whether the validator in this container is healthy by its own word; ends with 1 and the reason when it is not.

Of a machine without an ingress (LOOSH_SERVICES), whether what it serves answers; workers serve nothing, and `loosh up`
looks after them.

One whose intake an operator has stopped is: it evaluates what it has, and to be restarted helps it nothing.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

from dotenv import dotenv_values

STOPPED = "stopped by an operator with /set_running"
TIMEOUT_S = 8.0
SERVED = {
    "ingress": ("API_HOST", "API_PORT", "8000", "/availability/health"),
    "dagster-webserver": ("DAGSTER_HOST", "DAGSTER_PORT", "3000", "/server_info"),
    "embedder": ("EMBEDDER_HOST", "EMBEDDER_PORT", "8801", "/health"),
}
"""By service, in the order in which they are asked: where it listens, and a page that says it works."""
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}


def main() -> None:
    services = {each.strip() for each in setting("LOOSH_SERVICES").split(",") if each.strip()} or set(SERVED)
    name = next((each for each in SERVED if each in services), None)
    if name is None:
        return
    host_setting, port_setting, usual, path = SERVED[name]
    host, port = setting(host_setting), setting(port_setting) or usual
    url = f"http://{EVERYWHERE.get(host, host)}:{port}{path}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT_S) as answer:
            if name != "ingress":
                return
            said = json.load(answer)
    except (OSError, ValueError) as error:
        sys.exit(f"{url}: {error}")
    if said.get("status") != "healthy" and said.get("reasons") != [STOPPED]:
        sys.exit(json.dumps(said))


def setting(name: str) -> str:
    """As the validator reads it, in a tenth of the time: the environment, then `.env` in the working directory."""
    lines = dotenv_values(Path(".env"), encoding="utf-8-sig").items()
    return os.environ.get(name) or next((text for key, text in lines if key.upper() == name and text), "")


if __name__ == "__main__":
    main()
