#!/usr/bin/env python3
"""Compare two inferences of the same inputs: by how much probabilities differ, and what is decided otherwise.

    python -m monai.bundle run --config_file bundles/seg_kd/inference.json --dataset_dir DATA --output_dir A
    python -m monai.bundle run --config_file bundles/seg_kd/inference.json --dataset_dir DATA --output_dir B \\
        --checkpoint OTHER
    python tools/compare_inference.py A B --record difference.json

Reads what the bundles write: ``NAME_probability`` and ``NAME_mask`` (PNG or NIfTI) of segmentations,
``NAME_probabilities.csv`` of classifications.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from skimage.io import imread

from ckdmed.files import write_json

_PATTERNS = ("*_probability.png", "*_probability.nii.gz", "*_probabilities.csv")


def main() -> int:
    """Print the largest difference, and write it with ``--record``; 1 where the inputs are not the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="output_dir of an inference")
    parser.add_argument("second", type=Path, help="output_dir of another one")
    parser.add_argument("--record", type=Path, help="JSON file for the result")
    args = parser.parse_args()
    names = [sorted(_results(folder)) for folder in (args.first, args.second)]
    if not names[0] or names[0] != names[1]:
        print(f"{args.first} has results of {len(names[0])} inputs, {args.second} of {len(names[1])}.", file=sys.stderr)
        return 1
    largest, total, numbers, decided = 0.0, 0.0, 0, 0
    for name in names[0]:
        (first, ours), (second, others) = _read(args.first / name), _read(args.second / name)
        if first.shape != second.shape:
            print(f"{name}: {first.shape} and {second.shape}", file=sys.stderr)
            return 1
        difference = np.abs(first - second)
        largest = max(largest, float(difference.max()))
        total, numbers = total + float(difference.sum()), numbers + difference.size
        decided += int(np.count_nonzero(ours != others))
    of_masks = not names[0][0].endswith(".csv")
    found: dict[str, Any] = {
        "inputs": len(names[0]),
        "largest_difference": largest,
        "mean_difference": total / numbers,
        "decided_otherwise": decided,
        "of": f"{numbers} pixels" if of_masks else f"{len(names[0])} inputs",
        "checkpoints": [_checkpoint(folder) for folder in (args.first, args.second)],
    }
    print(
        f"{found['inputs']} inputs: the largest difference of probabilities is {largest:.6f}, the mean "
        f"{found['mean_difference']:.8f}; {decided} of {found['of']} are decided otherwise"
    )
    if args.record is not None:
        write_json(args.record, found)
    return 0


def _results(folder: Path) -> list[str]:
    found = [path for pattern in _PATTERNS for path in folder.rglob(pattern) if path.name != "probabilities.csv"]
    return [path.relative_to(folder).as_posix() for path in found]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in [0, 1], and what was decided by them: the mask, or a class for each slice."""
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        columns = [number for number, name in enumerate(rows[0]) if name.startswith("probability_")]
        values = np.array([[float(row[number]) for number in columns] for row in rows[1:]])
        return values, values.argmax(axis=1)
    mask = path.with_name(path.name.replace("_probability.", "_mask."))
    if path.suffix == ".png":
        return imread(path) / 65535.0, imread(mask) > 0
    first, decided = (nibabel.Nifti1Image.from_filename(name).get_fdata() for name in (path, mask))
    return first, decided > 0


def _checkpoint(folder: Path) -> str:
    return str(json.loads((folder / "report.json").read_text(encoding="utf-8"))["checkpoint_sha256"])


if __name__ == "__main__":
    sys.exit(main())
