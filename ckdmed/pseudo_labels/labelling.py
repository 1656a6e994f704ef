"""Labelling the images of a datalist that have no mask, into a folder that a student trains on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from ckdmed.counted import counted
from ckdmed.data.brats import is_brats_datalist
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.output_names import output_names
from ckdmed.data.patients import patient_group
from ckdmed.data.slice_datalist import is_slice_datalist, patient_of, read_slice_datalist
from ckdmed.data.splits import check_no_group_crosses
from ckdmed.files import write_json
from ckdmed.folders import replaced_folder
from ckdmed.json_files import read_json
from ckdmed.pseudo_labels.cases import write_case_labels
from ckdmed.pseudo_labels.empty_masks import tell_of_empty
from ckdmed.pseudo_labels.ensemble import combined
from ckdmed.pseudo_labels.mask_values import Regions, common_regions, mask_value
from ckdmed.pseudo_labels.networks import check_models, inferred
from ckdmed.pseudo_labels.settings import PseudoLabelSettings
from ckdmed.pseudo_labels.written_folder import content_sha256, foreign_content, write_manifest
from ckdmed.reports.files import write_csv

__all__ = ["write_pseudo_labels"]

logger = logging.getLogger(__name__)

_BUNDLES = ("seg_kd", "seg_teacher")
_MASKS = "pseudo_labels"
_PARTS, _SUFFIXES = ("mask", "probability"), (".nii.gz", ".png")


def write_pseudo_labels(
    datalist: Path, models: Sequence[Path], output_dir: Path, settings: PseudoLabelSettings = PseudoLabelSettings()
) -> dict[str, Any]:
    """Label the training images without a mask by several networks, and write a set to train a student on.

    ``output_dir`` gets copies of all images and masks of the datalist at their places, the new masks below
    ``pseudo_labels``, ``datalist.json`` with all of them, ``audit.csv`` with a line for each labelled image, and
    ``manifest.json`` with the SHA-256 of networks, images and masks. Images of the validation and test sections are
    never labelled. Where the datalist lacks sections, the new one has them as they were drawn in reading it: drawn anew
    they would be others, now that there are more labels.

    Args:
        datalist: of a user's own images, see :func:`~ckdmed.data.slice_datalist.read_slice_datalist`.
        models: checkpoints of segmentation networks with one region, with the records of their trainings beside them.
            Masks hold the first value that the region has by these; where it has none, 255 in pictures, 1 in volumes.
        output_dir: a new folder, or one that this function wrote and nobody has added to; it is replaced.
        settings: how.

    Returns:
        the manifest.

    Raises:
        ValueError: no models, or one twice; a datalist of another form or without unlabelled images; a network without
            a record, of several regions, of others than the first one's, or that was trained or chosen on patients of
            the test section; a patient in two sections; an image that one of them could not read; settings out of their
            ranges, or of no effect; a folder with other files, or with masks changed since.
    """
    if not models:
        raise ValueError("give one or more checkpoints of networks that label.")
    if twice := [model for place, model in enumerate(models) if _real(model) in map(_real, models[:place])]:
        raise ValueError(f"'{twice[0]}' is given twice; it would agree with itself and count twice in the average.")
    settings.check(len(models))
    stored = datalist / "datalist.json"
    if stored.is_file() and is_brats_datalist(read_json(stored)):
        datalist = stored
    if not datalist.is_file():
        raise ValueError(
            f"{datalist}: no such datalist; give the JSON file that lists your images, or a folder of BraTS cases in "
            "which `ckdmed brats-datalist --without-masks` wrote theirs."
        )
    content = read_json(datalist)
    if is_brats_datalist(content):
        return write_case_labels(datalist, content, models, output_dir, settings)
    if not is_slice_datalist(content):
        raise ValueError(
            f"{datalist} is neither a datalist of your own images, with 'image' and 'patient' for each item, nor one "
            "of BraTS cases."
        )
    # checks every item and its files
    items = read_slice_datalist(datalist, progress=False)
    items.pop("classes")
    check_no_group_crosses(items)
    content |= _sections_as_read(content, items)
    unlabelled = [entry for entry in content["training"] if not entry.get("label")]
    if not unlabelled:
        raise ValueError(f"{datalist}: every image of the section 'training' has a label; there is nothing to label.")
    if several := [entry["image"] for entry in unlabelled if not isinstance(entry["image"], str)]:
        raise ValueError(f"{datalist}: images of several channels cannot be labelled yet: {several[0]}.")
    check_models(models, items["test"])
    regions = common_regions(models)
    stems = _mask_stems(datalist, unlabelled, content)
    with replaced_folder(output_dir.absolute().parent, output_dir.name, foreign_content) as folder:
        for name in SECTIONS:
            for entry in content[name]:
                for path in _files(entry):
                    _copy(datalist.parent / path, folder / path)
        answers = [
            _probabilities(model, [folder / entry["image"] for entry in unlabelled], folder / ".work" / str(number))
            for number, model in enumerate(models)
        ]
        rows = [
            _label(
                folder, entry, stems[entry["image"]], [of[folder / entry["image"]] for of in answers], regions, settings
            )
            for entry in unlabelled
        ]
        shutil.rmtree(folder / ".work")
        write_json(folder / "datalist.json", content)
        write_csv(folder / "audit.csv", rows)
        images = [
            {"image": row["image"], "sha256": content_sha256(folder / row["image"])} | _of_label(folder, row["label"])
            for row in rows
        ]
        manifest = write_manifest(folder, datalist, settings, models, images)
    labelled = [row for row in rows if row["label"]]
    tell_of_empty([row["image"] for row in labelled if row["voxels"] == 0])
    mean = float(np.mean([row["agreement"] for row in rows]))
    logger.info(f"{len(labelled)} of {counted(len(rows), 'image')} labelled; mean agreement {mean:.3f}: {output_dir}")
    return manifest


def _real(path: Path) -> Path:
    return path.expanduser().resolve()


def _sections_as_read(
    content: Mapping[str, Any], items: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The entries of a datalist in the sections that reading it gave their patients."""
    # by the names that the entries have: an item's group may bear another's, with whom it shares an image
    section_of = {patient_group(item["patient"]): name for name in SECTIONS for item in items[name]}
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for name in SECTIONS:
        for entry in content.get(name, []):
            # a volume without slices has no item
            parts[section_of.get(patient_group(patient_of(entry)), name)].append(entry)
    return parts


def _mask_stems(
    datalist: Path, unlabelled: Sequence[Mapping[str, Any]], content: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str]:
    """Image -> where its masks are written, without ``_mask.png`` and the like; no two images share one."""
    images = list(dict.fromkeys(entry["image"] for entry in unlabelled))
    stems = {image: f"{_MASKS}/{name}" for image, name in zip(images, output_names(images), strict=True)}
    given = {Path(path).as_posix() for name in SECTIONS for entry in content[name] for path in _files(entry)}
    for image, stem in stems.items():
        if taken := given.intersection(f"{stem}_{part}{suffix}" for part in _PARTS for suffix in _SUFFIXES):
            raise ValueError(
                f"{datalist}: the mask of {image} would replace {min(taken)}, which the datalist names; move that out "
                f"of {_MASKS}."
            )
    return stems


def _probabilities(model: Path, images: Sequence[Path], work: Path) -> dict[Path, Path]:
    """Image -> the file of a network's probabilities, by the inference of the bundle that trained it."""
    inputs = work / "inputs"
    for number, image in enumerate(images):
        _copy(image, inputs / f"{number:06d}" / image.name)
    found = {}
    for result in inferred(model, _BUNDLES, inputs, work / "results"):
        answers = [name for name in result["outputs"] if "_probability." in name]
        if len(answers) != 1:
            raise ValueError(f"'{model}' has {len(answers)} regions; networks that label must have one.")
        number = int(Path(result["input"][0]).relative_to(inputs.resolve()).parts[0])
        found[images[number]] = work / "results" / answers[0]
    if missing := [image for image in images if image not in found]:
        raise ValueError(f"'{model}' has no result for {missing[0].name} and {len(missing) - 1} more.")
    return found


def _label(
    folder: Path,
    entry: dict[str, Any],
    stem: str,
    answers: Sequence[Path],
    regions: Regions,
    settings: PseudoLabelSettings,
) -> dict[str, Any]:
    """Write one image's mask, put it into its entry of the datalist, and give its line of the audit."""
    agreed = combined([_read(path) for path in answers], settings.average, settings.min_confidence)
    suffix = ".nii.gz" if answers[0].name.endswith(".nii.gz") else ".png"
    used = agreed.agreement >= settings.min_agreement
    mask, probability = (f"{stem}_{part}{suffix}" for part in _PARTS)
    if used:
        _write(folder / mask, agreed.mask.astype(np.uint16) * np.uint16(mask_value(regions, suffix)), answers[0])
        entry |= {"label": mask, "pseudo_label": True}
        if settings.soft:
            _write(folder / probability, agreed.probability, answers[0])
            entry |= {"label": probability, "soft": True}
    return {
        "image": entry["image"],
        "patient": entry["patient"],
        "label": entry["label"] if used else "",
        "voxels": int(agreed.mask.sum()),
        "kept": round(agreed.kept, 4),
        "agreement": round(agreed.agreement, 4),
        "mean_confidence": round(agreed.confidence, 4),
    }


def _read(path: Path) -> np.ndarray:
    if path.name.endswith(".nii.gz"):
        return np.asarray(nib.load(path).dataobj, dtype=np.float64)  # type: ignore[attr-defined]
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=np.float64) / 65535


def _write(path: Path, values: np.ndarray, like: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_mask = values.dtype.kind == "u"
    if path.name.endswith(".nii.gz"):
        affine = nib.load(like).affine  # type: ignore[attr-defined]
        nib.save(nib.Nifti1Image(_narrowest(values) if is_mask else values.astype(np.float32), affine), path)
    else:
        pixels = _narrowest(values) if is_mask else np.round(values * 65535).astype(np.uint16)
        Image.fromarray(pixels).save(path)


def _narrowest(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8) if values.max(initial=0) < 256 else values


def _files(entry: Mapping[str, Any]) -> list[str]:
    images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    return [*images, *([entry["label"]] if entry.get("label") else [])]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _of_label(folder: Path, label: str) -> dict[str, str]:
    return {"label": label, "label_sha256": content_sha256(folder / label)} if label else {}
