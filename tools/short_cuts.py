#!/usr/bin/env python3
"""What a classifier of Figshare slices owes to the data set's short cuts: scores without them.

Every patient whose code begins with MR has a glioma, and the images of these patients come from another source. So
the classifier is scored on the other patients alone, and under a gamma, which changes the intensities but not the
anatomy. Takes the folders that ``ckdmed robustness`` wrote of one network, or of one for each fold; of several the
slices are pooled, so no two may have scored the same slice.

    ckdmed robustness RUN --dataset_dir FOLDER_OF_MAT --section test --final --corruptions brighter-2 darker-2 \
        --output_dir control/0
    python tools/short_cuts.py control/* --record docs/records/short-cuts.json
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.counted import counted
from ckdmed.files import write_json
from ckdmed.metrics import classification_scores

#: How the codes of patients begin that all have the same kind of tumour.
GIVEN_AWAY = "MR"
#: These patients' class, in the order of the classes.
GIVEN_CLASS = 1
SCORES = ("accuracy", "balanced_accuracy", "macro_auc", "glioma_recall")


def main() -> int:
    """Print the scores, and write the record where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of ckdmed robustness, one for each fold")
    parser.add_argument("--section", default="test", help="whose evaluations are read (default: test)")
    parser.add_argument("--record", type=Path, help="JSON file for the scores")
    args = parser.parse_args()
    try:
        found = pooled(args.folders, args.section)
        scores = {point: scores_of(found[point]) for point in sorted(found, key=lambda name: name != "clean")}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if args.record is not None:
        write_json(args.record, {"folders": len(args.folders), "section": args.section, "points": scores})
    print("\n".join(lines(scores)))
    return 0


def pooled(folders: Sequence[Path], section: str) -> dict[str, list[dict[str, str]]]:
    """Point ("clean", "brighter-2") -> the slices of all folders.

    Raises:
        ValueError: no evaluation; folders with other points than the first; a slice that two of them scored.
    """
    found: dict[str, list[dict[str, str]]] = {}
    first: list[str] = []
    for folder in folders:
        files = sorted((folder / "evaluations" / section).glob("student-*/probabilities.csv"))
        points = [file.parent.name.removeprefix("student-") for file in files]
        first = first or points
        if not points or points != first:
            raise ValueError(f"{folder}: expected evaluations of {', '.join(first) or section}, found {points}.")
        for point, file in zip(points, files, strict=True):
            with file.open(encoding="utf-8", newline="") as opened:
                rows = list(csv.DictReader(opened))
            seen = {row["id"] for row in found.get(point, [])}
            if twice := sorted(seen.intersection(row["id"] for row in rows)):
                raise ValueError(f"{file}: slice {twice[0]} was scored by another of these folders too.")
            found.setdefault(point, []).extend(rows)
    return found


def scores_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Scores of all slices, of those whose patient's code gives the class away, and of the others."""
    given = [row for row in rows if row["patient"].startswith(GIVEN_AWAY)]
    others = [row for row in rows if not row["patient"].startswith(GIVEN_AWAY)]
    return {"all": _scores(rows), "others": _scores(others), "given away": _scores(given)}


def _scores(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    if not rows:
        raise ValueError(f"all patients' codes begin with {GIVEN_AWAY}, or none does: there is nothing to compare.")
    columns = [name for name in rows[0] if name.startswith("probability_")]
    probabilities = np.array([[float(row[name]) for name in columns] for row in rows])
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores = classification_scores(probabilities, [int(row["label"]) for row in rows])
    return {
        "slices": len(rows),
        "patients": len({row["patient_group"] for row in rows}),
        "glioma_recall": scores["recall"][GIVEN_CLASS],
        # of one class alone, where nothing else can be told from it
        **{name: None if np.isnan(scores[name]) else scores[name] for name in SCORES[:3]},
    }


def lines(points: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """What each group of patients scores on each kind of images."""
    for point, groups in points.items():
        for group, scores in groups.items():
            counts = f"{counted(scores['patients'], 'patient')}, {counted(scores['slices'], 'slice')}"
            known = [f"{name} {scores[name]:.4f}" for name in SCORES if scores[name] is not None]
            yield f"{point}, {group}: {counts}: " + ", ".join(known)


if __name__ == "__main__":
    sys.exit(main())
