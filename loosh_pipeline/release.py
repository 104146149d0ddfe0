"""Which release this is: installed metadata, so it cannot drift."""

from importlib.metadata import version

RELEASE = version("loosh-pipeline")
