"""From clinical or BraTS files to volumes and slices that a network takes."""

from __future__ import annotations

from ckdmed.preparation.case import PreparedVolume, prepare_volume
from ckdmed.preparation.inputs import CaseInput, find_inputs, single_input
from ckdmed.preparation.outputs import write_volume
from ckdmed.preparation.picture import draw_summary
from ckdmed.preparation.place import folder_not_searched
from ckdmed.preparation.run import CaseResult, prepare_cases
from ckdmed.preparation.settings import FORMATS, PreparationSettings

__all__ = [
    "FORMATS",
    "CaseInput",
    "CaseResult",
    "PreparationSettings",
    "PreparedVolume",
    "draw_summary",
    "find_inputs",
    "folder_not_searched",
    "prepare_cases",
    "prepare_volume",
    "single_input",
    "write_volume",
]
