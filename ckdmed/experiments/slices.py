"""What experiments over Figshare slices share: phantoms to run on with their options, and scores of segmentations."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.data import build_figshare_datalist, write_datalist
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.sections import resolve_datalist
from ckdmed.data.slice_datalist import is_slice_datalist
from ckdmed.experiments.drawn_phantoms import refuse_another_number
from ckdmed.json_files import read_json

__all__ = [
    "HD95",
    "PATIENTS",
    "SLICES",
    "SLICE_WORDS",
    "add_slice_phantom_options",
    "read_slices",
    "slice_phantoms",
    "slice_scores",
]

SLICE_WORDS = "Figshare .mat files with a datalist.json, or a datalist of your own slices"

SLICES, PATIENTS, HD95 = "Dice per slice", "Dice per patient", "HD95 per slice"


def slice_scores(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of a segmentation's ``summary.json``: Dice and distance, over slices and over patients."""
    overall = summary["overall"]
    return {
        SLICES: overall["dice"]["slice_mean"],
        PATIENTS: overall["dice"]["patient_mean"],
        HD95: overall["hd95"]["slice_mean"],
        "HD95 per patient": overall["hd95"]["patient_mean"],
    }


def read_slices(stored: Path, settings: Mapping[str, Any], target: str = "label") -> Mapping[str, Any]:
    """A datalist of slices, Figshare's or a user's own, as all runs see it.

    Args:
        stored: the JSON file.
        settings: that all runs share; their ``split_seed`` draws the sections that a user's own datalist does not list.
        target: what makes an image of a user's own datalist labelled: "label" or "class".

    Returns:
        The sections, and ``seed``, by which they were drawn; no ``seed`` where the user listed them.

    Raises:
        ValueError: see :func:`~ckdmed.data.sections.resolve_datalist`.
    """
    seed = int(settings.get("split_seed") or 0)
    datalist, content = resolve_datalist(stored, seed, progress=False, target=target), read_json(stored)
    drawn = is_slice_datalist(content) and not content.get("validation")
    return {**datalist, "seed": seed} if drawn else datalist


def add_slice_phantom_options(parser: argparse.ArgumentParser) -> None:
    """Declare how many phantoms there are, and their size."""
    parser.add_argument(
        "--phantom_patients", type=int, default=60, help="phantoms if there is no dataset_dir (default: 60)"
    )
    parser.add_argument("--phantom_size", type=int, default=128, help="edge length of phantom slices (default: 128)")


def slice_phantoms(folder: Path, patients: int, size: int, seed: int = 0) -> Path:
    """A folder of phantoms with its datalist, made once.

    Raises:
        ValueError: it holds phantoms of other settings or another number.
    """
    refuse_another_number(folder, "n_patients", patients, "--phantom_patients")
    write_figshare_phantoms(folder, n_patients=patients, size=size, seed=seed)
    if not (folder / DATALIST_NAME).is_file():
        datalist, _ = build_figshare_datalist(folder, seed=seed, progress=False)
        write_datalist(datalist, folder / DATALIST_NAME)
    return folder
