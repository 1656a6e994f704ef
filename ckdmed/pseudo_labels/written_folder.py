"""A folder of pseudo-labels: whether it still is what was written, and whether another may take its place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckdmed.file_hash import sha256_of
from ckdmed.files import write_json
from ckdmed.folders import files_below
from ckdmed.json_files import JsonFileError, read_json
from ckdmed.pseudo_labels.settings import PseudoLabelSettings

__all__ = ["MANIFEST", "check_pseudo_labels", "content_sha256", "foreign_content", "write_manifest"]

MANIFEST = "manifest.json"
_FORM = {"datalist", "settings", "models", "images", "files"}


def write_manifest(
    folder: Path,
    datalist: Path,
    settings: PseudoLabelSettings,
    models: Sequence[Path],
    images: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write what the labels were made of, when everything else is in the folder.

    Args:
        folder: of the labels.
        datalist, settings, models: that they were made of.
        images: with ``image`` and its ``sha256``, or a list of each, and ``label`` and ``label_sha256`` where there is
            one; relative to the folder.

    Returns:
        the manifest.
    """
    manifest = {
        "datalist": str(datalist),
        "settings": asdict(settings),
        "models": [{"checkpoint": str(model), "sha256": content_sha256(model)} for model in models],
        "images": list(images),
        "files": sorted([*files_below(folder), MANIFEST]),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def check_pseudo_labels(folder: Path) -> list[str]:
    """What differs from the manifest that the labels were written with; empty where nothing does.

    Raises:
        ValueError: the folder is none of pseudo-labels.
    """
    path = folder / MANIFEST
    manifest = read_json(path) if path.is_file() else None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("images"), list):
        raise ValueError(f"{path} is not a manifest of pseudo-labels: give a folder that `ckdmed pseudo-label` wrote.")
    problems = []
    for entry in manifest["images"]:
        images, hashes = entry["image"], entry["sha256"]
        known_of = dict(zip(images, hashes, strict=True)) if isinstance(images, list) else {images: hashes}
        if "label_sha256" in entry:
            known_of[entry["label"]] = entry["label_sha256"]
        for name, known in known_of.items():
            path = folder / str(name)
            if not path.exists():
                problems.append(f"{path}: no such file.")
            elif content_sha256(path) != known:
                problems.append(f"{path} has changed since the labels were made.")
    return problems


def foreign_content(folder: Path) -> str | None:
    """What in a folder this command did not write: other files, and labels that somebody has changed."""
    there = files_below(folder)
    try:
        manifest = read_json(folder / MANIFEST)
    except (FileNotFoundError, JsonFileError):
        return f"it holds {there[0]} but no {MANIFEST} of pseudo-labels"
    if not isinstance(manifest, dict) or not _FORM <= set(manifest) or not isinstance(manifest["files"], list):
        return f"its {MANIFEST} is not one of pseudo-labels"
    if others := sorted(set(there).difference(manifest["files"])):
        return f"it holds {others[0]}, which is not part of the pseudo-labels"
    written = {entry["label"]: entry["label_sha256"] for entry in manifest["images"] if "label" in entry}
    changed = [name for name, known in written.items() if name in there and content_sha256(folder / name) != known]
    return f"its {changed[0]} was changed after it was written" if changed else None


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the files of a DICOM series."""
    if path.is_dir():
        parts = "".join(f"{file.name}{content_sha256(file)}" for file in sorted(path.iterdir()))
        return hashlib.sha256(parts.encode()).hexdigest()
    return sha256_of(path)
