"""Manifests: what is known of the Figshare set without its images (ids, hashes, patients, folds, licence)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.config import PathLike
from tqdm import tqdm

from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.patients import patient_group
from ckdmed.file_hash import sha256_of
from ckdmed.files import write_atomic
from ckdmed.json_files import read_json

COLUMNS = ("id", "tumor_label", "patient", "patient_group", "official_fold", "sha256")
_ABOUT = {
    "name": "Figshare brain tumour slices",
    "author": "Jun Cheng",
    "title": "brain tumor dataset",
    "source": "https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
    "doi": "10.6084/m9.figshare.1512427",
    "licence": "CC BY 4.0",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
    "citation": [
        "Cheng J. brain tumor dataset. figshare. doi:10.6084/m9.figshare.1512427",
        "Cheng J, Huang W, Cao S, et al. Enhanced Performance of Brain Tumor Classification via Tumor Region "
        "Augmentation and Partition. PLoS ONE 10(10): e0140381, 2015. doi:10.1371/journal.pone.0140381",
        "Cheng J, Yang W, Huang M, et al. Retrieval of Brain Tumors by Adaptive Spatial Pooling and Fisher Vector "
        "Representation. PLoS ONE 11(6): e0157112, 2016. doi:10.1371/journal.pone.0157112",
    ],
    "tumor_labels": {"1": "meningioma", "2": "glioma", "3": "pituitary tumour"},
    "slices_in_the_published_set": 3064,
}


def make_figshare_manifest(folder: PathLike, slices_csv: PathLike, progress: bool = True) -> dict[str, Any]:
    """The manifest of the Figshare set.

    Args:
        folder: original `<id>.mat` files, each of which is hashed and compared with the table.
        slices_csv: a table with the columns id, patient_id, patient_group, label and fold, a row for each known slice.
        progress: whether to show a progress bar.

    Raises:
        ValueError: a file that the table does not know, or whose patient or label differ from the table; a group in the
            table that `patient_group` does not give.
        FigshareFileError: an unusable file.
    """
    with open(slices_csv, newline="", encoding="utf-8") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    hashes: dict[str, str] = {}
    for path in tqdm(sorted(Path(folder).glob("*.mat")), desc="hashing", unit="file", disable=not progress):
        if path.stem == "cvind":
            continue
        item, row = read_figshare_slice(path), rows.get(path.stem)
        if row is None or (row["patient_id"], row["label"]) != (item.patient, str(item.tumor_label)):
            raise ValueError(f"{path}: {item.patient}, label {item.tumor_label}; the table has {row}.")
        hashes[path.stem] = sha256_of(path)
    table = []
    for name in sorted(rows, key=int):
        row = rows[name]
        if patient_group(row["patient_id"]) != row["patient_group"]:
            raise ValueError(f"slice {name}: the table's group of {row['patient_id']} is {row['patient_group']}.")
        values = (name, int(row["label"]), row["patient_id"], row["patient_group"], int(row["fold"]), hashes.get(name))
        table.append(list(values))
    return {**_ABOUT, "slices_listed": len(table), "slices_hashed": len(hashes), "columns": COLUMNS, "slices": table}


def write_manifest(manifest: Mapping[str, Any], path: PathLike) -> Path:
    """Write a manifest as JSON with one slice per line, atomically."""
    head = json.dumps({key: value for key, value in manifest.items() if key != "slices"}, indent=1, ensure_ascii=False)
    lines = ",\n".join("  " + json.dumps(row) for row in manifest["slices"])
    text = f'{head[:-2]},\n "slices": [\n{lines}\n ]\n}}\n'

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomic(path, write)


def read_manifest(path: PathLike) -> dict[str, dict[str, Any]]:
    """The slices of a manifest: id to a dictionary with the keys of `COLUMNS`.

    Raises:
        ValueError: no such file, no JSON, other columns, or a row of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such manifest.")
    try:
        manifest = read_json(path)
        columns, rows = tuple(manifest["columns"]), list(manifest["slices"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a manifest with 'columns' and 'slices' ({error}).") from error
    if columns != COLUMNS:
        raise ValueError(f"{path}: the columns must be {COLUMNS}, got {columns}.")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(COLUMNS):
            raise ValueError(f"{path}: a slice must be a list of {len(COLUMNS)} values, got {row!r}.")
    return {str(row[0]): dict(zip(COLUMNS, row, strict=True)) for row in rows}
