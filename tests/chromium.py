"""Where a Chromium is: `python -m tests.chromium` prints it, and ends with 1 where there is none.

Playwright brings none of its own here.
"""

from __future__ import annotations

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
"""What it is started with, so that it asks nobody for anything by itself."""
NONE = "needs a Chromium: on the PATH, or where CHROMIUM says (apt-get install chromium)"


def chromium() -> str | None:
    """The one that CHROMIUM names, else the first on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__":
    sys.exit(print(found) if (found := chromium()) else NONE)
