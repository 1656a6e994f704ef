"""What the bundle configurations call: settings, data and the beginning and end of a run."""

from __future__ import annotations

from ckdmed.bundle.brats import brats_sections
from ckdmed.bundle.classification import CLASS_NAMES, figshare_classes
from ckdmed.bundle.figshare import figshare_sections
from ckdmed.bundle.run import evaluation_settings, finish_run, start_run
from ckdmed.bundle.strict import UnknownSettingError, check_settings

__all__ = [
    "CLASS_NAMES",
    "UnknownSettingError",
    "brats_sections",
    "check_settings",
    "evaluation_settings",
    "figshare_classes",
    "figshare_sections",
    "finish_run",
    "start_run",
]
