"""Whether the validator in this container is healthy by its own word; ends with 1 and the reason when it is not."""

from __future__ import annotations

import json
import os
import sys
import urllib.request

TIMEOUT_S = 8.0
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}


def main() -> None:
    host = os.environ.get("API_HOST", "")
    port = os.environ.get("API_PORT") or "8000"
    url = f"http://{EVERYWHERE.get(host, host)}:{port}/availability/health"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT_S) as answer:
            said = json.load(answer)
    except (OSError, ValueError) as error:
        sys.exit(f"{url}: {error}")
    if said.get("status") != "healthy":
        sys.exit(json.dumps(said))


if __name__ == "__main__":
    main()
