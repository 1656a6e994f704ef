"""What experiments over BraTS cases share: phantoms to run on, and the scores that their records keep."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.phantoms import PHANTOM_RELEASE, write_brats_phantoms
from ckdmed.experiments.drawn_phantoms import refuse_another_number
from ckdmed.labels import REGIONS
from ckdmed.reports import RunRecord, arm_table

__all__ = [
    "CASE_DISTANCES",
    "DICE",
    "LESIONWISE_DICE",
    "add_case_phantom_options",
    "case_phantoms",
    "case_scores",
    "distance_table",
    "region_tables",
]

# a name each, since ordinary and lesion-wise scores are different things
DICE = "Dice"
_REGION_DICE = tuple(f"Dice {region}" for region in REGIONS)
LESIONWISE_DICE = "lesion-wise Dice"
_REGION_LESIONWISE_DICE = tuple(f"{LESIONWISE_DICE} {region}" for region in REGIONS)
_HD95, _LESIONWISE_HD95 = "HD95 [mm]", "lesion-wise HD95 [mm]"
_REGION_HD95 = tuple(f"HD95 {region} [mm]" for region in REGIONS)
#: of these the smaller one wins
CASE_DISTANCES = (_HD95, _LESIONWISE_HD95)


def case_scores(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of an evaluation's ``summary.json``: means over patients, of the mean of the regions unless
    the name holds a region."""

    def mean(part: Mapping[str, Any], score: str) -> Any:
        return part["overall"][score]["patient_mean"]

    # a network may have learnt some of the regions only
    regions = summary["per_region"]
    return {
        DICE: mean(summary, "dice"),
        **{f"Dice {region}": mean(part, "dice") for region, part in regions.items()},
        LESIONWISE_DICE: mean(summary, "lesionwise_dice"),
        **{f"{LESIONWISE_DICE} {region}": mean(part, "lesionwise_dice") for region, part in regions.items()},
        _HD95: mean(summary, "hd95"),
        **{f"HD95 {region} [mm]": mean(part, "hd95") for region, part in regions.items()},
        _LESIONWISE_HD95: mean(summary, "lesionwise_hd95_mm"),
    }


def region_tables(records: Sequence[RunRecord], arms: Mapping[str, str]) -> list[str]:
    """Markdown tables of the Dice and of the distances of each region, without differences: with them, a table of all
    regions is too wide to read.

    Args:
        records: of the runs; regions that no network has learnt are in none, and have no column.
        arms: arm -> name to print, in the order to print.

    Returns:
        the tables; none of a single region, whose scores are those of the mean.
    """
    held = {name for record in records for name in record.metrics}
    parts = []
    for names, decimals in (((*_REGION_DICE, *_REGION_LESIONWISE_DICE), 4), (_REGION_HD95, 2)):
        shown = [name for name in names if name in held]
        if len(held & set(_REGION_DICE)) > 1 and shown:
            parts.append(arm_table(records, shown, None, arms, decimals=decimals))
    return parts


def distance_table(records: Sequence[RunRecord], baseline: str | None, arms: Mapping[str, str]) -> str:
    """The Markdown table of the two distances, of which the smaller one wins; see ``arm_table``."""
    return arm_table(records, CASE_DISTANCES, baseline, arms, decimals=2, smaller_is_better=CASE_DISTANCES)


def add_case_phantom_options(parser: argparse.ArgumentParser, cases: int, shape: Sequence[int]) -> None:
    """Declare how many phantoms there are, and their size.

    Args:
        parser: of the experiment.
        cases, shape: the defaults.
    """
    parser.add_argument(
        "--phantom_cases", type=int, default=cases, help=f"phantoms if there is no dataset_dir (default: {cases})"
    )
    parser.add_argument(
        "--phantom_shape",
        type=int,
        nargs=3,
        default=list(shape),
        metavar=("X", "Y", "Z"),
        help=f"shape of a phantom in voxels (default: {' '.join(map(str, shape))})",
    )


def case_phantoms(
    folder: Path, cases: int, shape: Sequence[int], seed: int, fractions: Sequence[float], **made: Any
) -> Path:
    """A folder of BraTS phantoms with its datalist, made once.

    Args:
        folder: where they lie.
        cases: how many.
        shape: voxels along the three axes.
        seed: of the phantoms and of the split.
        fractions: of the patients in the training, validation and test set.
        made: further arguments of ``write_brats_phantoms``.

    Raises:
        ValueError: it holds phantoms of other settings or another number.
    """
    refuse_another_number(folder, "n_cases", cases, "--phantom_cases")
    width, height, depth = (int(size) for size in shape)
    write_brats_phantoms(folder, cases, (width, height, depth), seed, progress=False, **made)
    if not (folder / DATALIST_NAME).is_file():
        datalist, _ = build_brats_datalist(folder, seed, fractions, progress=False, release=PHANTOM_RELEASE)
        write_brats_datalist(datalist, folder / DATALIST_NAME)
    return folder
