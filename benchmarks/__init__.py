"""Measurements of this project, none of which runs in production: `python -m benchmarks.NAME --json`."""
