"""Labelling the BraTS cases of a datalist that have no mask, into a folder that a student trains on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from ckdmed.bundle.trained import recorded_settings
from ckdmed.counted import counted
from ckdmed.data.brats import (
    MODALITIES,
    check_brats_datalist,
    grid_disagreement,
    read_volume_header,
    select_brats_items,
)
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.nifti_bytes import nifti_bytes
from ckdmed.data.output_names import output_names
from ckdmed.files import write_json
from ckdmed.folders import replaced_folder
from ckdmed.labels import REGIONS, brats_labels
from ckdmed.metrics.region_volumes import volumes_ml
from ckdmed.pseudo_labels.empty_masks import tell_of_empty
from ckdmed.pseudo_labels.ensemble import combined
from ckdmed.pseudo_labels.networks import check_models, inferred
from ckdmed.pseudo_labels.settings import PseudoLabelSettings
from ckdmed.pseudo_labels.written_folder import content_sha256, foreign_content, write_manifest
from ckdmed.reports.files import write_csv
from ckdmed.sections.brats import check_listed_cases, check_persons

__all__ = ["write_case_labels"]

logger = logging.getLogger(__name__)

_BUNDLES = ("brats_seg_kd", "brats_seg_teacher")
_MASKS = "pseudo_labels"
# the probabilities of so many cases lie on the disk at a time
_AT_ONCE = 16
_GB = 1e9


def write_case_labels(
    datalist: Path,
    content: dict[str, Any],
    models: Sequence[Path],
    output_dir: Path,
    settings: PseudoLabelSettings = PseudoLabelSettings(),
) -> dict[str, Any]:
    """As :func:`~ckdmed.pseudo_labels.write_pseudo_labels`, of BraTS cases.

    Each region's probability is averaged over the networks on the case's grid. Masks hold the labels of the case's
    release, as those of an inference do, see :meth:`~ckdmed.labels.BratsLabels.from_regions`; a voxel of a region that
    is not sure enough is left out of that region. What was labelled is marked by ``pseudo_label`` in the datalist, so
    that it is nowhere scored.

    Args:
        datalist: the file, for its folder and for messages.
        content: of it, see :func:`~ckdmed.data.brats.build_brats_datalist`.
        models: checkpoints of the bundles brats_seg_kd and brats_seg_teacher, of slices or volumes, with the three
            regions.
        output_dir, settings: see `write_pseudo_labels`. A case's agreement is that of the region with the least.

    Raises:
        ValueError: as `write_pseudo_labels`; soft labels; a case of validation or test without a mask; a case that
            lacks a modality; files of a case on several grids; less room on the disk than the copies take.
    """
    check_brats_datalist(content, datalist)
    if settings.soft:
        raise ValueError("soft labels are not made for BraTS cases, since no training reads them; leave out --soft.")
    unlabelled = _unlabelled(datalist, content)
    check_listed_cases(content, datalist.parent, ())
    check_persons(content, datalist)
    check_models(models, content["test"], cases=True)
    _check_regions(models)
    for item in select_brats_items({"test": unlabelled}, datalist.parent, "test"):
        _check_case(item, models)
    masks = _mask_paths(datalist, unlabelled, content)
    sources = sorted({path for name in SECTIONS for entry in content[name] for path in _files(entry)})
    _check_room(datalist.parent, sources, output_dir)
    rows: list[dict[str, Any]] = []
    with replaced_folder(output_dir.absolute().parent, output_dir.name, foreign_content) as folder:
        _copy(datalist.parent, sources, folder)
        for start in range(0, len(unlabelled), _AT_ONCE):
            part = unlabelled[start : start + _AT_ONCE]
            answers = _answers(models, part, folder)
            rows += [
                _label(folder, entry, masks[entry["case"]], [of[number] for of in answers], settings)
                for number, entry in enumerate(part)
            ]
            shutil.rmtree(folder / ".work")
        write_json(folder / "datalist.json", content)
        write_csv(folder / "audit.csv", rows)
        images = [_hashes(folder, entry) for entry in unlabelled]
        manifest = write_manifest(folder, datalist, settings, models, images)
    labelled = [row for row in rows if row["label"]]
    tell_of_empty([entry["case"] for entry in unlabelled if "label" in entry and not entry["label_voxels"]])
    mean = float(np.mean([row["agreement"] for row in rows]))
    logger.info(f"{len(labelled)} of {counted(len(rows), 'case')} labelled; mean agreement {mean:.3f}: {output_dir}")
    return manifest


def _unlabelled(datalist: Path, content: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    for name in ("validation", "test"):
        if without := [entry["case"] for entry in content[name] if "label" not in entry]:
            raise ValueError(
                f"{datalist}: {counted(len(without), 'case')} of the section '{name}' without a mask (the first: "
                f"{without[0]}). Such cases are not labelled, and no training takes a list with them: move them, with "
                "all cases of their patients, to 'training', or leave them out."
            )
    unlabelled = [entry for entry in content["training"] if "label" not in entry]
    if not unlabelled:
        raise ValueError(f"{datalist}: every case of the section 'training' has a mask; there is nothing to label.")
    return unlabelled


def _check_regions(models: Sequence[Path]) -> None:
    """Refuse a network that does not know each region: in a mask of BraTS labels nothing says that one is unknown."""
    for model in models:
        regions = list((recorded_settings(model) or {}).get("regions") or REGIONS)
        if set(regions) != set(REGIONS):
            raise ValueError(
                f"'{model}' was trained with regions {regions}; networks that label cases must mark "
                f"{', '.join(REGIONS)}: regions that they do not know would be empty in the masks."
            )


def _check_case(item: Mapping[str, Any], models: Sequence[Path]) -> None:
    for model in models:
        wanted = (recorded_settings(model) or {}).get("modalities") or MODALITIES
        if missing := [modality for modality in wanted if modality not in item["modalities"]]:
            raise ValueError(
                f"the case {item['case']} lacks {', '.join(missing)} (found: {', '.join(item['modalities'])}), which "
                f"'{model}' needs; leave the case out, or give a network that does not need them."
            )
    headers = [read_volume_header(path) for path in item["image"]]
    for header in headers[1:]:
        if problem := grid_disagreement(headers[0], header):
            raise ValueError(f"the case {item['case']}: {problem}; resample its images to one grid first.")


def _mask_paths(
    datalist: Path, unlabelled: Sequence[Mapping[str, Any]], content: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str]:
    """Case -> the place of its mask, whose name does not make it one that `brats-datalist` takes for an expert's."""
    masks = {entry["case"]: f"{_MASKS}/{entry['case']}_mask.nii.gz" for entry in unlabelled}
    given = {path for name in SECTIONS for entry in content[name] for path in _files(entry)}
    for case, mask in masks.items():
        if mask in given:
            raise ValueError(
                f"{datalist}: the mask of {case} would replace {mask}, which the datalist names; move that out of "
                f"{_MASKS}."
            )
    return masks


def _check_room(source: Path, paths: Sequence[str], output_dir: Path) -> None:
    """Refuse copies for which the disk has no room."""
    size = _bytes(source, paths)
    there = next(folder for folder in output_dir.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise ValueError(
            f"{output_dir} is to get copies of {counted(len(paths), 'file')}, {size / _GB:.1f} GB, but the disk has "
            f"{free / _GB:.1f} GB left; give an --output_dir on another one, or leave cases out of the datalist."
        )


def _copy(source: Path, paths: Sequence[str], folder: Path) -> None:
    """Copy files to the same places of another folder; the bar says from the start how much it is."""
    size = _bytes(source, paths)
    text = f"copying {counted(len(paths), 'file')}"
    logger.info(f"{text} ({size / _GB:.2f} GB)")
    with tqdm(total=size, desc=text, unit="B", unit_scale=True) as bar:
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, folder / path)
            bar.update((folder / path).stat().st_size)


def _bytes(source: Path, paths: Sequence[str]) -> int:
    return sum((source / path).stat().st_size for path in paths)


def _answers(models: Sequence[Path], part: Sequence[Mapping[str, Any]], folder: Path) -> list[list[dict[str, Path]]]:
    """For each network, of each case: region -> the file of its probabilities."""
    # in the place of the datalist, to whose folder its paths are relative, until that is written
    cases = folder / "datalist.json"
    write_json(cases, {"training": [], "validation": [], "test": list(part)})
    called = [entry["case"] for entry in part]
    # as the inference names what it writes, so that no case gets another's answer, whatever their order there
    names = output_names(called, called)
    answers = []
    for number, model in enumerate(models):
        work = folder / ".work" / str(number)
        told = [result["name"] for result in inferred(model, _BUNDLES, cases, work, section="test", probabilities=True)]
        if sorted(told) != sorted(names):
            raise ValueError(f"'{model}' gave results for {told}, but was asked for {names}.")
        answers.append([{region: work / f"{name}_probability_{region}.nii.gz" for region in REGIONS} for name in names])
    return answers


def _label(
    folder: Path,
    entry: dict[str, Any],
    mask: str,
    answers: Sequence[Mapping[str, Path]],
    settings: PseudoLabelSettings,
) -> dict[str, Any]:
    """Write one case's mask, put it into its entry of the datalist, and give its line of the audit."""
    agreed = {
        region: combined([_read(of[region]) for of in answers], settings.average, settings.min_confidence)
        for region in REGIONS
    }
    table = brats_labels(entry["release"], entry["tumour_type"])
    labels = table.from_regions(np.stack([agreed[region].mask for region in REGIONS]))
    # without a limit of confidence, and with it: one region's voxels are others' too
    all_of = table.to_regions(table.from_regions(np.stack([agreed[region].probability >= 0.5 for region in REGIONS])))
    kept_of = table.to_regions(labels)
    first = folder / entry["image"][0]
    affine = read_volume_header(first).affine
    least = min(found.agreement for found in agreed.values())
    used = least >= settings.min_agreement
    if used:
        (folder / mask).parent.mkdir(exist_ok=True)
        (folder / mask).write_bytes(nifti_bytes(labels, affine, first))
        values, numbers = np.unique(labels, return_counts=True)
        counts = {table.names[int(v)]: int(n) for v, n in zip(values, numbers, strict=True) if v}
        entry |= {"label": mask, "pseudo_label": True, "has_et": "ET" in counts, "label_voxels": counts}
    volumes = volumes_ml(dict(zip(REGIONS, kept_of, strict=True)), affine)
    row = {
        "case": entry["case"],
        "patient": entry["patient"],
        "label": mask if used else "",
        "agreement": round(least, 4),
    }
    for region, before, after in zip(REGIONS, all_of, kept_of, strict=True):
        row |= {
            f"agreement_{region}": round(agreed[region].agreement, 4),
            f"kept_{region}": round(float(after.sum() / before.sum()), 4) if before.any() else 1.0,
            f"mean_confidence_{region}": round(agreed[region].confidence, 4),
            f"volume_ml_{region}": volumes[region],
        }
    return row


def _read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)  # type: ignore[attr-defined]


def _files(entry: Mapping[str, Any]) -> list[str]:
    return [*entry["image"], *([entry["label"]] if "label" in entry else [])]


def _hashes(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    images = {"image": entry["image"], "sha256": [content_sha256(folder / path) for path in entry["image"]]}
    label = (
        {"label": entry["label"], "label_sha256": content_sha256(folder / entry["label"])} if "label" in entry else {}
    )
    return {"case": entry["case"], **images, **label}
