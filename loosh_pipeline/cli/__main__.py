"""`python -m loosh_pipeline.cli`: what `loosh` does."""

from loosh_pipeline.cli.app import app

app()
