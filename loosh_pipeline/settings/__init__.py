"""The settings of a validator."""

from loosh_pipeline.settings.legacy import NO_RESULTS
from loosh_pipeline.settings.machine import FILES_BROKER, PORTS, AuthMode, Present
from loosh_pipeline.settings.model import SECTIONS, Settings
from loosh_pipeline.settings.read import get_settings
from loosh_pipeline.settings.section import UNSET

__all__ = [
    "FILES_BROKER",
    "NO_RESULTS",
    "PORTS",
    "SECTIONS",
    "UNSET",
    "AuthMode",
    "Present",
    "Settings",
    "get_settings",
]
