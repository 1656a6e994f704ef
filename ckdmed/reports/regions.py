"""The report of an evaluation of whole cases with several regions, ordinary scores beside lesion-wise ones."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.metrics import BRATS_2023_LESION_RULES, EMPTY_RULES, LESION_PENALTY_MM, aggregate_scores, patient_key_of

from .calibration import calibration_part
from .files import plain, write_csv, write_json
from .predictions import best_and_worst
from .region_means import mean_over_regions
from .region_pictures import RegionPicture, plot_region_cases
from .tables import markdown_table

__all__ = ["CASE_SCORES", "LESION_COUNTS", "REGION_SCORES", "write_region_report"]

#: Of a region's voxels in the whole case.
CASE_SCORES = ("dice", "iou", "hd95", "asd", "sensitivity", "specificity")
#: Means over the lesions of a case; another kind of number under other names.
LESION_SCORES = ("lesionwise_dice", "lesionwise_hd95_mm")
REGION_SCORES = (*CASE_SCORES, *LESION_SCORES)
LESION_COUNTS = ("n_lesions", "n_found", "n_missed", "n_false", "n_ignored")
_SHOWN = {
    "dice": "Dice",
    "hd95": "HD95 [mm]",
    "lesionwise_dice": "lesion-wise Dice",
    "lesionwise_hd95_mm": "lesion-wise HD95 [mm]",
}

Row = Mapping[str, Any]


def write_region_report(
    rows: Sequence[Row],
    output_dir: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    pictures: Mapping[str, RegionPicture] | None = None,
    lesions: Sequence[Row] = (),
    regions: Sequence[str] = ("TC", "WT", "ET"),
    n_cases: int = 3,
    n_bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    reliability: Sequence[Row] = (),
) -> tuple[dict[str, Any], str]:
    """Write the scores of cases and regions: tables, a JSON summary, and the best and worst cases as a picture.

    The files are ``scores.csv`` (a row per case and region), ``lesions.csv`` (a row per lesion of the truth),
    ``patients.csv``, ``summary.json`` and ``best_and_worst.png``; each is written whole or not at all. The summary has
    the form of that of ``write_segmentation_report``: ``overall`` and ``per_class`` (by tumour type) are of a case's
    mean over its regions, and ``per_region`` holds the same of each region, with the sums of the lesions counted.

    Args:
        rows: a mapping per case and region: id, patient, class (the tumour type), region, ``REGION_SCORES``,
            ``LESION_COUNTS``, and ``empty`` and ``unit`` as ``segmentation_scores`` gives them.
        output_dir: created where it does not exist.
        settings: what produced the rows; copied into the summary.
        pictures: slice of a case by its id, at least of the best and worst cases. None: no picture.
        lesions: what is known of each lesion of the truth, for ``lesions.csv``.
        regions: their order.
        n_cases: how many best and how many worst cases, by mean Dice over the regions.
        n_bootstrap, level, seed: of the intervals.
        reliability: what `calibration_part` takes, where probabilities are known.

    Returns:
        The summary as written, and a Markdown table.

    Raises:
        ValueError: as ``aggregate_scores``; a case lacks a region or has it twice.
    """
    folder = Path(output_dir)
    bootstrap: dict[str, Any] = {"n": n_bootstrap, "level": level, "seed": seed}
    cases = mean_over_regions(rows, regions, REGION_SCORES)
    result = aggregate_scores(cases, REGION_SCORES, patient_key_of(rows), **bootstrap)
    key, per_patient = result["patient_key"], result.pop("per_patient")
    per_region = {
        region: _of_region([row for row in rows if row["region"] == region], key, bootstrap) for region in regions
    }
    dice = [float(case["dice"]) for case in cases]
    best, worst = best_and_worst(dice, n_cases)
    summary: dict[str, Any] = {
        "settings": dict(settings or {}),
        "units": {"distance": result["unit"]},
        "rules": {
            "empty": EMPTY_RULES,
            "lesions": {name: vars(rule) for name, rule in BRATS_2023_LESION_RULES.items()}
            | {"penalty_mm": LESION_PENALTY_MM},
            "overall": "mean of a case's regions; undefined values are left out of it",
            "intervals": f"{level:.0%} percentile bootstrap, {n_bootstrap} draws of whole patients, seed {seed}",
            "patient": f"mean over a patient's cases, patients identified by {key}",
        },
        "counted": "cases",
        "regions": list(regions),
        **result,
        **calibration_part(reliability, key, str(result["unit"]), n_bootstrap, level, seed),
        "per_region": per_region,
        "per_patient": per_patient,
        "best": [_named(cases[i], key) for i in best],
        "worst": [_named(cases[i], key) for i in worst],
    }
    write_csv(folder / "scores.csv", rows)
    write_csv(folder / "patients.csv", per_patient)
    if lesions:
        write_csv(folder / "lesions.csv", lesions)
    if pictures is not None and (best or worst):
        by_region = {(row["id"], row["region"]): float(row["dice"]) for row in rows}
        names = [str(cases[i]["id"]) for i in [*best, *worst]]
        drawn = [(name, pictures[name]) for name in names]
        plot_region_cases(
            drawn[: len(best)],
            drawn[len(best) :],
            [[by_region[cases[i]["id"], region] for region in regions] for i in [*best, *worst]],
            regions,
            folder / "best_and_worst.png",
        )
        summary["pictures"] = ["best_and_worst.png"]
    # last, so that a summary exists only when all files of the report do
    write_json(folder / "summary.json", summary)
    return plain(summary), _table(summary)


def _of_region(rows: Sequence[Row], key: str, bootstrap: Mapping[str, Any]) -> dict[str, Any]:
    result = aggregate_scores(rows, REGION_SCORES, key, **bootstrap)
    del result["per_patient"]
    result["lesions"] = _counts(rows)
    for kind, part in result["per_class"].items():
        part["lesions"] = _counts([row for row in rows if str(row.get("class")) == kind])
    return result


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    return {name: sum(int(row[name]) for row in rows) for name in LESION_COUNTS}


def _named(case: Row, key: str) -> dict[str, Any]:
    return {"id": case["id"], key: case.get(key), "dice": case["dice"]}


def _table(summary: Mapping[str, Any]) -> str:
    level = f"{summary['level']:.0%}"
    head = ["region", "cases", "patients"]
    for name in _SHOWN.values():
        head += [name, level]
    head += ["lesions", "found", "missed", "false"]
    parts = [(region, part) for region, part in summary["per_region"].items()]
    lines = [_line(region, part, part["overall"], part["lesions"]) for region, part in parts]
    lines.append(_line("mean of regions", summary, summary["overall"], None))
    if len(summary["per_class"]) > 1:
        for kind, mean in summary["per_class"].items():
            for region, part in parts:
                own = part["per_class"][kind]
                lines.append(_line(f"{kind}: {region}", own, own["scores"], own["lesions"]))
            lines.append(_line(f"{kind}: mean of regions", mean, mean["scores"], None))
    text = [
        markdown_table(head, lines).rstrip(),
        "Dice and HD95 are of a region's voxels in the whole case; lesion-wise scores are means over its lesions, as "
        "BraTS 2023 ranks by. Means over patients of the mean over a patient's cases.",
    ]
    for region, part in parts:
        empty = part["empty"]
        if empty["truth"] + empty["prediction"]:
            text.append(
                f"{region}: {counted(empty['truth'], 'case')} without it where some was found, "
                f"{empty['prediction']} with it where none was found; they enter HD95 with the diagonal of the volume."
            )
    return "\n".join(text)


def _line(
    label: str, part: Mapping[str, Any], scores: Mapping[str, Any], lesions: Mapping[str, int] | None
) -> list[str]:
    line = [label, str(part["n_slices"]), str(part["n_patients"])]
    for score in _SHOWN:
        digits = 2 if "hd95" in score else 4
        low, high = scores[score]["patient_interval"]
        line.append(_number(scores[score]["patient_mean"], digits))
        line.append("-" if math.isnan(low) else f"{low:.{digits}f}-{high:.{digits}f}")
    counted = ("n_lesions", "n_found", "n_missed", "n_false")
    return line + [str(lesions[name]) if lesions else "" for name in counted]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
