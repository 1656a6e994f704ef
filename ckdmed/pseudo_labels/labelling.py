"""Labelling the images of a datalist that have no mask, into a folder that a student trains on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from ckdmed.bundle.trained import is_of_a_student, recorded_settings
from ckdmed.bundle_files import bundle_configs
from ckdmed.counted import counted
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.output_names import output_names
from ckdmed.data.patients import patient_group
from ckdmed.data.slice_datalist import is_slice_datalist, read_slice_datalist
from ckdmed.data.splits import check_no_group_crosses
from ckdmed.files import write_json
from ckdmed.folders import files_below, replaced_folder
from ckdmed.json_files import read_json
from ckdmed.pseudo_labels.ensemble import Agreed, combined
from ckdmed.pseudo_labels.mask_values import Regions, common_regions, mask_value
from ckdmed.pseudo_labels.written_folder import MANIFEST, content_sha256, foreign_content
from ckdmed.reports.files import write_csv
from ckdmed.sections.record import find_own_or_shipped

__all__ = ["PseudoLabelSettings", "write_pseudo_labels"]

logger = logging.getLogger(__name__)

_MASKS = "pseudo_labels"
_PARTS, _SUFFIXES = ("mask", "probability"), (".nii.gz", ".png")


@dataclass(frozen=True)
class PseudoLabelSettings:
    """How labels are made.

    Attributes:
        average, min_confidence: see :func:`~ckdmed.pseudo_labels.combined`.
        min_agreement: in [0, 1]; images on which the networks agree less stay unlabelled.
        soft: the labels are the averaged probabilities instead of masks, and the mask stands beside them.
    """

    average: str = "prob"
    min_confidence: float = 0.5
    min_agreement: float = 0.0
    soft: bool = False


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
        ValueError: no models, a datalist of another form or without unlabelled images; a network without a record, of
            several regions, of others than the first one's, or that was trained or chosen on patients of the test
            section; a patient in two sections; an image that one of them could not read; settings out of their ranges;
            a folder with other files, or with masks changed since.
    """
    if not models:
        raise ValueError("give one checkpoint or more of networks that label.")
    if not 0 <= settings.min_agreement <= 1:
        raise ValueError(f"min_agreement is {settings.min_agreement}; it must lie in [0, 1].")
    combined([np.zeros(1)], settings.average, settings.min_confidence)
    if not datalist.is_file():
        raise ValueError(f"{datalist}: no such datalist; give the JSON file that lists your images.")
    content = read_json(datalist)
    if not is_slice_datalist(content):
        raise ValueError(f"{datalist} is no datalist of your own images, with 'image' and 'patient' of each item.")
    # checks every item and its files
    items = read_slice_datalist(datalist, progress=False)
    items.pop("classes")
    check_no_group_crosses(items)
    content |= _sections_as_read(content, items)
    unlabelled = [entry for entry in content["training"] if not entry.get("label")]
    if not unlabelled:
        raise ValueError(f"{datalist}: every image of the section 'training' has a label; there is none to make.")
    if several := [entry["image"] for entry in unlabelled if not isinstance(entry["image"], str)]:
        raise ValueError(f"{datalist}: images of several channels cannot be labelled yet: {several[0]}.")
    for model in models:
        _check_model(model, items)
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
        manifest = {
            "datalist": str(datalist),
            "settings": asdict(settings),
            "models": [{"checkpoint": str(model), "sha256": content_sha256(model)} for model in models],
            "images": [
                {"image": row["image"], "sha256": content_sha256(folder / row["image"])}
                | _of_label(folder, row["label"])
                for row in rows
            ],
            "files": sorted([*files_below(folder), MANIFEST]),
        }
        write_json(folder / MANIFEST, manifest)
    labelled = [row for row in rows if row["label"]]
    mean = float(np.mean([row["agreement"] for row in rows]))
    logger.info(f"{len(labelled)} of {counted(len(rows), 'image')} labelled; mean agreement {mean:.3f}: {output_dir}")
    return manifest


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
            parts[section_of.get(patient_group(str(entry["patient"])), name)].append(entry)
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
                f"{datalist}: the mask of {image} would take the place of {min(taken)}, which the datalist names; move "
                f"that out of {_MASKS}."
            )
    return stems


def _check_model(model: Path, items: Mapping[str, Any]) -> None:
    if not model.is_file():
        raise ValueError(f"there is no checkpoint '{model}'.")
    if recorded_settings(model) is None:
        raise ValueError(f"'{model}' has no record of its training (model.json beside it), which tells its network.")
    record = find_own_or_shipped(model)
    if record is None:
        logger.warning(f"{model} has no record of its patients; whether it knows test patients is not known")
        return
    known = {
        item["patient_group"]
        for item in items["test"]
        if {"train", "validation"} & set(record.sections_of([item["patient_group"], item["patient"]]))
    }
    if known:
        raise ValueError(
            f"'{model}' was trained or chosen on {counted(len(known), 'patient')} of the test section "
            f"({sorted(known)[0]}): what it labels would carry them into the training. Give a network that was "
            "trained on the same split."
        )


def _probabilities(model: Path, images: Sequence[Path], work: Path) -> dict[Path, Path]:
    """Image -> the file of a network's probabilities, by the inference of the bundle that trained it."""
    from monai.bundle import ConfigWorkflow

    settings = recorded_settings(model) or {}
    bundle = "seg_kd" if is_of_a_student(model, settings) else "seg_teacher"
    inputs = work / "inputs"
    for number, image in enumerate(images):
        _copy(image, inputs / f"{number:06d}" / image.name)
    workflow = ConfigWorkflow(
        [str(bundle_configs(bundle) / "inference.json")],
        meta_file=None,
        logging_file=False,
        workflow_type="inference",
        checkpoint=str(model),
        dataset_dir=str(inputs),
        output_dir=str(work / "results"),
    )
    workflow.initialize()
    workflow.run()
    try:
        workflow.finalize()
    except SystemExit as error:
        raise ValueError(f"'{model}' could not label every image: {error}") from error
    found = {}
    for result in read_json(work / "results" / "report.json")["results"]:
        answers = [name for name in result["outputs"] if "_probability." in name]
        if len(answers) != 1:
            raise ValueError(f"'{model}' has {len(answers)} regions; networks that label have one.")
        number = int(Path(result["input"][0]).relative_to(inputs.resolve()).parts[0])
        found[images[number]] = work / "results" / answers[0]
    if missing := [image for image in images if image not in found]:
        raise ValueError(f"'{model}' has no answer for {missing[0].name} and {len(missing) - 1} more.")
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
        entry["label"] = mask
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
        "mean_confidence": round(_confidence(agreed), 4),
    }


def _confidence(agreed: Agreed) -> float:
    return float(np.maximum(agreed.probability, 1 - agreed.probability).mean())


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
