"""Keeping patients' names out of a process's log: pydicom and pynetdicom show values that they find odd."""

from __future__ import annotations

import logging
import warnings

from pydicom import config

__all__ = ["keep_names_out"]


def keep_names_out() -> None:
    """Let libraries be silent about the values of attributes, for the rest of the process."""
    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom|highdicom")
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
