"""An experiment on Figshare slices, or without any on phantoms of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.experiments.engine import Experiment
from ckdmed.experiments.slices import SLICE_WORDS, read_slices, slice_phantoms

__all__ = ["SliceExperiment"]


@dataclass
class SliceExperiment(Experiment):
    """What experiments on slices have in common: their data, and the phantoms that take their place.

    Their options are declared by :func:`~ckdmed.experiments.slices.add_slice_phantom_options`.
    """

    data: ClassVar[str] = SLICE_WORDS
    datalist_command: ClassVar[str] = "datalist"

    @classmethod
    def phantoms(cls, folder: Path, args: argparse.Namespace) -> Path:
        return slice_phantoms(folder, args.phantom_patients, args.phantom_size)

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_slices(path, self.settings)
