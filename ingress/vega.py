"""Vega, Vega-Lite and Vega-Embed in one script, by the package that draws the pictures: the two show the same."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock

logger = logging.getLogger(__name__)

MADE_WITHIN_S = 120.0
COMMAND = (
    sys.executable,
    "-c",
    "import gzip, os, sys; os.nice(10); import vl_convert; "
    'made = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"); '
    "sys.stdout.buffer.write(gzip.compress(made.encode(), mtime=0))",
)
"""The package makes it without letting any other thread run, for a second and more: in the ingress nothing would be
taken meanwhile, so it is made in a process of its own.
"""


class VegaError(Exception):
    """The script cannot be made."""


def vega_mark() -> str:
    """Which one it is: it is the same for all of one version of the package."""
    return f"vl-{version('vl-convert-python')}"


class Vega:
    """Made once, and kept as a file in `folder`, packed by gzip."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"vega-{vega_mark()}.js.gz"
        self._lock = Lock()
        self._packed: bytes | None = None

    def packed(self) -> bytes:
        """Blocks for seconds when first asked for; whoever asks meanwhile waits for the same. Raises VegaError."""
        with self._lock:
            if self._packed is None:
                self._packed = self._kept() or self._made()
            return self._packed

    def _kept(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:  # it was not made yet
            return None

    def _made(self) -> bytes:
        try:
            done = subprocess.run(COMMAND, capture_output=True, timeout=MADE_WITHIN_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
            raise VegaError(f"the script that draws charts cannot be made: {error}\n{said}".rstrip()) from error
        try:
            self._keep(done.stdout)
        except OSError as error:
            logger.warning("the script that draws charts is made anew at each start, as it cannot be kept: %s", error)
        return done.stdout

    def _keep(self, packed: bytes) -> None:
        """Under its name it is there whole, or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
            file.write(packed)
        os.replace(file.name, self._path)
