"""The version that the network is told: installed metadata, so it cannot drift from the release."""

from importlib.metadata import version

VERSION = version("loosh-pipeline")
SERVICE_NAME = "loosh-inference-validator"
