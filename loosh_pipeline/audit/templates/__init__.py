"""Templates of pages, and where they lie: without anything that makes the values they show."""

from pathlib import Path

TEMPLATES = Path(__file__).parent
