#!/usr/bin/env python3
"""Score what a bundle's inference wrote for labelled Figshare slices, by what the checkpoint knew of their patients.

    python -m monai.bundle run --config_file bundles/seg_kd/inference.json --dataset_dir FOLDER_OF_MAT --output_dir OUT
    python tools/score_inference.py FOLDER_OF_MAT OUT --model bundles/seg_kd/models/model.json --report FOLDER \\
        --record docs/records/inference/figshare_mat.json

Each slice's patient is looked up among those that the checkpoint was trained on, chosen by (validation), tested on, or
that it never met. Of masks it prints the table, writes the report (scores per slice and patient, intervals over
patients, pictures) into FOLDER, and with ``--record`` what the documentation's table is made of. Of a classification
(OUT has ``probabilities.csv``) it prints the accuracy per slice and per patient; ``--record`` keeps that too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import LoadImage
from skimage.io import imread
from tqdm import tqdm

from ckdmed.data import FigshareMatReader
from ckdmed.data.sections import resolve_datalist
from ckdmed.files import write_json
from ckdmed.metrics import segmentation_scores
from ckdmed.reports import machine_in_words, markdown_table, write_segmentation_report

PARTS = {"train": "in its training", "validation": "chosen by", "test": "tested on", "none": "never met"}


def main() -> int:
    """Score what is there; 1 where a slice has no mask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("results", type=Path, help="output_dir of the inference")
    parser.add_argument("--model", type=Path, required=True, help="model.json beside the shipped checkpoint")
    parser.add_argument("--report", type=Path, help="folder of the report; needed for masks")
    parser.add_argument("--record", type=Path, help="file of the run's record, for tools/write_tables.py")
    args = parser.parse_args()
    # MONAI tells of an argument that MONAI itself passes, once a slice
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*always_return_as_numpy")
    model = json.loads(args.model.read_text(encoding="utf-8"))
    inferred = json.loads((args.results / "report.json").read_text(encoding="utf-8"))
    if inferred["checkpoint_sha256"] != model["sha256"]:
        print(
            f"{args.results} was inferred with the checkpoint of SHA-256 {inferred['checkpoint_sha256']}, {args.model} "
            f"describes {model['sha256']}; infer again, or name the model.json of that one.",
            file=sys.stderr,
        )
        return 1
    split = model["split"]
    # a final training may have learned from the validation section too
    known = {part: "train" if part in split["trained_on"] else part for part in split["patient_groups"]}
    part_of = {group: known[part] for part, groups in split["patient_groups"].items() for group in groups}
    listed = resolve_datalist(args.dataset_dir, seed=0)
    items = [item for section in ("training", "validation", "test") for item in listed[section]]
    if (args.results / "probabilities.csv").is_file():
        return _score_classes(args.results, items, part_of, inferred, args.record)
    if args.report is None:
        parser.error("masks need --report")
    images, labels = (LoadImage(reader=FigshareMatReader(field), image_only=True) for field in ("image", "mask"))
    rows, pictures, missing = [], {}, []
    for item in tqdm(items, desc="scoring"):
        path = args.results / f"{item['id']}_mask.png"
        if not path.is_file():
            missing.append(str(item["id"]))
            continue
        source = str(args.dataset_dir / item["image"])
        truth, predicted = np.asarray(labels(source)) > 0, imread(path) > 0
        if truth.shape != predicted.shape:
            print(f"{path}: {predicted.shape}, but the slice has {truth.shape}", file=sys.stderr)
            return 1
        row = {key: item[key] for key in ("id", "patient", "patient_group")}
        part = PARTS[part_of.get(str(item["patient_group"]), "none")]
        rows.append({**row, "class": part, **segmentation_scores(predicted, truth)})
        pictures[str(item["id"])] = (np.asarray(images(source)), truth, predicted)
    if missing:
        print(f"{len(missing)} slices have no mask in {args.results}: {', '.join(missing[:10])}", file=sys.stderr)
    if not rows:
        return 1
    settings = {"checkpoint_sha256": model["sha256"], "slices": len(rows), "without_mask": missing}
    summary, table = write_segmentation_report(rows, args.report, settings=settings, pictures=pictures)
    print(table)
    if args.record is not None:
        _write_record(args.record, args.results, inferred, summary)
    return 1 if missing else 0


def _score_classes(
    folder: Path,
    items: list[dict[str, Any]],
    part_of: dict[str, str],
    inferred: dict[str, Any],
    record: Path | None,
) -> int:
    """Accuracy per slice and per patient (of the mean probabilities of the slices) in each part."""
    with open(folder / "probabilities.csv", encoding="utf-8", newline="") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    names = inferred["settings"]["class_names"]
    missing = [str(item["id"]) for item in items if str(item["id"]) not in rows]
    parts: dict[str, list[tuple[str, int, np.ndarray]]] = {}
    for item in items:
        if (row := rows.get(str(item["id"]))) is not None:
            values = np.array([float(row[f"probability_{name}"]) for name in names])
            group = str(item["patient_group"])
            for part in ("all", PARTS[part_of.get(group, "none")]):
                parts.setdefault(part, []).append((group, int(item["tumor_label"]) - 1, values))
    found = {}
    for part, of in parts.items():
        slices = [values.argmax() == label for _, label, values in of]
        patients = {group: label for group, label, _ in of}
        means = {group: np.mean([v for g, _, v in of if g == group], axis=0) for group in patients}
        right = [means[group].argmax() == label for group, label in patients.items()]
        found[part] = {
            "n_slices": len(of),
            "n_patients": len(patients),
            "accuracy": float(np.mean(slices)),
            "patient_accuracy": float(np.mean(right)),
        }
    rows_of = [
        [part, str(f["n_patients"]), str(f["n_slices"]), f"{f['accuracy']:.3f}", f"{f['patient_accuracy']:.3f}"]
        for part, f in found.items()
    ]
    print(markdown_table(["patients", "how many", "slices", "accuracy per slice", "per patient"], rows_of))
    if missing:
        print(f"{len(missing)} slices have no result in {folder}: {', '.join(missing[:10])}", file=sys.stderr)
    if record is not None:
        known = {key: inferred[key] for key in ("checkpoint_sha256", "settings")}
        write_json(record, {**known, "machine": machine_in_words(), "parts": found})
    return 1 if missing else 0


def _write_record(path: Path, masks: Path, inferred: dict[str, Any], summary: dict[str, Any]) -> None:
    """The scores of each part, with the command and the checkpoint that they come from; no path of this machine."""
    command = json.loads((masks / "settings.json").read_text(encoding="utf-8"))["command"]
    parts = {"all": {**summary, "scores": summary["overall"]}, **summary["per_class"]}
    record = {
        "command": [os.path.basename(word) if os.path.isabs(word) else word for word in command],
        "checkpoint_sha256": inferred["checkpoint_sha256"],
        "settings": inferred["settings"],
        "machine": machine_in_words(),
        "unit": summary["unit"],
        "parts": {
            name: {key: part[key] for key in ("n_slices", "n_patients", "scores")} for name, part in parts.items()
        },
    }
    write_json(path, record)


if __name__ == "__main__":
    sys.exit(main())
