"""The command line of the project."""

from loosh_pipeline.cli.app import app

__all__ = ["app"]
