"""A process that scores what it is sent: `python -m loosh_pipeline.rescoring`, started by `ScoringProcesses`."""

from __future__ import annotations

import os
import signal
import sys

from loosh_pipeline.rescoring.processes import NICENESS, offer_to_die_first, serve


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C hears whoever waits for the answers
    os.nice(NICENESS)
    offer_to_die_first()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
