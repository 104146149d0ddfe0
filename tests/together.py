"""Processes that begin at the same moment, so that whatever they share is shared."""

from __future__ import annotations

import subprocess
import sys


def together(count: int, code: str, *arguments: str) -> list[subprocess.Popen[str]]:
    """So many processes of a program that says `ready`, then waits for a line, all of which have been told to go."""
    command, pipe = [sys.executable, "-c", code, *arguments], subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes
