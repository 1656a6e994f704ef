"""The data that tasks are trained on: how their datalists are read, and the phantoms that take their place."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckdmed.data.brats import read_brats_datalist
from ckdmed.experiments.cases import add_case_phantom_options, case_phantoms, case_scores
from ckdmed.experiments.slices import (
    SLICE_WORDS,
    add_slice_phantom_options,
    read_slices,
    slice_phantoms,
    slice_scores,
)

__all__ = ["CASE_DATA", "SLICE_DATA", "TaskData", "add_phantom_options"]

# few cases have to judge as well
_FRACTIONS = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class TaskData:
    """One kind of data.

    Attributes:
        words: what they are, as ``--dataset_dir`` takes them.
        datalist_command: the command that makes the datalist of such a folder.
        read_datalist: its checked content, from the file, the settings that all runs share, and what makes an image
            labelled.
        phantoms: a folder of phantoms with its datalist, made once, from a folder and the options of
            :func:`add_phantom_options`.
        scores: what a record keeps of the ``summary.json`` of a segmentation's evaluation.
    """

    words: str
    datalist_command: str
    read_datalist: Callable[[Path, Mapping[str, Any], str], Mapping[str, Any]]
    phantoms: Callable[[Path, argparse.Namespace], Path]
    scores: Callable[[Mapping[str, Any]], dict[str, Any]]


def add_phantom_options(parser: argparse.ArgumentParser) -> None:
    """Declare how many phantoms of each kind there are, and their size."""
    add_slice_phantom_options(parser)
    add_case_phantom_options(parser, 30, (64, 64, 40))


def _slices(folder: Path, args: argparse.Namespace) -> Path:
    return slice_phantoms(folder, args.phantom_patients, args.phantom_size)


def _cases(folder: Path, args: argparse.Namespace) -> Path:
    return case_phantoms(folder, args.phantom_cases, args.phantom_shape, 0, _FRACTIONS)


def _read_cases(path: Path, _: Mapping[str, Any], __: str) -> Mapping[str, Any]:
    return read_brats_datalist(path)


SLICE_DATA = TaskData(SLICE_WORDS, "datalist", read_slices, _slices, slice_scores)
CASE_DATA = TaskData("BraTS cases with a datalist.json", "brats-datalist", _read_cases, _cases, case_scores)
