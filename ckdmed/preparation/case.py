"""One case from its files to arrays on a common grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from ckdmed.data.brats import VolumeFileError, VolumeHeader, affine_text, brats_labels, grid_disagreement
from ckdmed.data.case_reader import check_meeting, check_places
from ckdmed.data.series_identity import check_one_patient, other_coordinates
from ckdmed.data.volume_reader import read_volume
from ckdmed.labels import BratsLabels
from ckdmed.preparation.inputs import CaseInput
from ckdmed.preparation.registration import Registration, register
from ckdmed.preparation.settings import PreparationSettings
from ckdmed.preparation.shading import without_shading
from ckdmed.transforms.volume_preparation import volume_preparation

__all__ = ["PreparedVolume", "prepare_volume"]

# the side of a BraTS voxel
_MATTERS_MM = 1.0


@dataclass(frozen=True)
class PreparedVolume:
    """A prepared case.

    Args:
        image: (C, X, Y, Z) float32, in the order of `modalities`.
        label: (X, Y, Z) uint8 in the labels of the input, or None.
        brain: (X, Y, Z) uint8.
        affine: (4, 4), index to millimetres, RAS.
        modalities: names of the channels.
        table: the labels' meaning, or None where it is not known.
        covered: of each modality the share of the brain that lies in its field of view, above 0 and up to 1.
        registrations: of each modality that was brought onto the reference, how; empty where none was.
        label_kept: share of the label's volume that is left on the grid; 1 where there is no label, or an empty one.
        doubts: a part of a sentence on each mask with the grid of several images that a registration moved apart, and
            on each image of another frame of reference that nothing registered.
    """

    image: np.ndarray
    label: np.ndarray | None
    brain: np.ndarray
    affine: np.ndarray
    modalities: tuple[str, ...]
    table: BratsLabels | None
    covered: Mapping[str, float]
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    label_kept: float = 1.0
    doubts: tuple[str, ...] = ()


def prepare_volume(item: CaseInput, settings: PreparationSettings) -> PreparedVolume:
    """Read, check and prepare one case.

    Raises:
        VolumeFileError: see `read_volume`; the case lacks the reference; DICOM series are of several patients; a mask
            that has the grid and affine of none of the images (both affines are named), values that are no labels, or
            labels that the release does not have; an empty brain mask; an image that is constant, lies outside of the
            reference by its affine, or has one value in all of the brain; with `coregister` one that does not fit the
            reference after registration; a label of which nothing is left.
        ValueError: see `volume_preparation`.
    """
    if settings.reference is not None and settings.reference not in item.images:
        raise VolumeFileError(
            f"{item.case}: lacks the reference {settings.reference}, whose grid is used (found: "
            f"{', '.join(item.images)}); give such an image, or another reference."
        )
    check_one_patient(item.images.values())
    volumes = _read_images(item)
    if settings.n4:
        volumes = {modality: (without_shading(*volume), volume[1]) for modality, volume in volumes.items()}
    reference = settings.reference or next(iter(volumes))
    # before a registration, which gives images of one grid different affines
    for modality, volume in volumes.items():
        check_places((item.images[reference], *volumes[reference]), (item.images[modality], *volume))
    registrations = _registered(item, volumes, reference) if settings.coregister else {}
    headers = {m: VolumeHeader(item.images[m], v.shape, affine) for m, (v, affine) in volumes.items()}
    volumes = {m: (v, _moved(registrations, m, affine)) for m, (v, affine) in volumes.items()}
    data = {m: _tensor(array, affine) for m, (array, affine) in volumes.items()}
    table = _table(item, settings)
    drawn = 0.0
    apart = {} if settings.coregister else other_coordinates(item.images, reference)
    advice = "the scanner's coordinates may not fit, see summary.png or use --coregister"
    doubts = [f"{told}: {advice}" for told in apart.values()]
    for key, path in (("label", item.label), ("brain", item.brain)):
        if path is not None:
            array, affine, drawn_on, others = _read_mask(path, headers, settings.tolerance_mm, reference)
            doubts += _doubt(path, drawn_on, others, registrations, headers[drawn_on])
            affine = _moved(registrations, drawn_on, affine)
            if key == "label":
                _check_labels(path, array, table)
                drawn = _volume(array, affine)
            elif not array.any():
                raise VolumeFileError(f"{path}: the brain mask is empty.")
            data[key] = _tensor(array, affine)
    modalities = tuple(volumes)
    for modality, (array, affine) in volumes.items():
        check_meeting((item.images[reference], *volumes[reference]), (item.images[modality], array, affine))
    chain = volume_preparation(
        modalities,
        "label" if item.label is not None else None,
        item.brain is not None,
        settings.reference,
        settings.orientation,
        settings.spacing,
        settings.size,
        settings.brain,
        settings.normalise,
        settings.clahe,
        settings.clahe_limit,
    )
    grids = {modality: (array.shape, affine) for modality, (array, affine) in volumes.items()}
    del volumes
    result = chain(data)
    if not isinstance(result, Mapping):
        raise RuntimeError(f"the preparation transforms returned a {type(result).__name__}, not a dictionary.")
    image, brain = np.asarray(result["image"].numpy()), np.asarray(result["brain"][0].numpy())
    affine = np.asarray(result["image"].affine.numpy(), dtype=np.float64)
    label = result["label"][0].numpy() if item.label is not None else None
    covered = {modality: _covered(brain, affine, *grid) for modality, grid in grids.items()}
    for modality, channel in zip(modalities, image, strict=True):
        values = channel[brain != 0]
        if not values.size or not covered[modality] or values.min() == values.max():
            cause = "it is constant over the brain" if values.size else "no voxel of the brain is left"
            raise VolumeFileError(
                f"{item.images[modality]}: {cause}, on the grid of {item.images[reference].name}; the headers place "
                "the images apart, or the brain mask or the size leaves nothing of it."
            )
    kept = 1.0 if label is None or not drawn else _volume(label, affine) / drawn
    if label is not None and not kept:
        raise VolumeFileError(
            f"{item.label}: nothing of it is left on the grid of {label.shape} voxels, as if there were no tumour: "
            "the grid does not reach it, or its voxels are too large for it. Give another size, spacing or reference."
        )
    return PreparedVolume(
        image,
        None if label is None else np.asarray(label),
        brain,
        affine,
        modalities,
        table,
        covered,
        registrations,
        kept,
        tuple(doubts),
    )


def _doubt(
    path: Path, drawn_on: str, others: Sequence[str], registrations: Mapping[str, Registration], grid: VolumeHeader
) -> list[str]:
    """What to say of a mask that may be drawn on several images, where it matters with which of them it is moved."""
    matter = [m for m in others if _apart_mm(registrations, m, drawn_on, grid) > _MATTERS_MM]
    if not matter:
        return []
    apart = max(_apart_mm(registrations, m, drawn_on, grid) for m in matter)
    return [
        f"{path.name} has the grid of {drawn_on} and of {' and '.join(matter)}, which the registration moved apart by "
        f"up to {apart:.1f} mm: it was moved as one drawn on {drawn_on}"
    ]


def _apart_mm(registrations: Mapping[str, Registration], one: str, other: str, grid: VolumeHeader) -> float:
    """How far apart the corners of one grid come to lie when it is moved with either image."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in grid.grid))], dtype=np.float64)
    first, second = (corners @ _moved(registrations, name, grid.affine).T for name in (one, other))
    return float(np.linalg.norm((first - second)[:, :3], axis=1).max())


def _volume(mask: np.ndarray, affine: np.ndarray) -> float:
    """Of all that is not 0, in the affine's units cubed."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(affine[:3, :3])))


def _registered(
    item: CaseInput, volumes: Mapping[str, tuple[np.ndarray, np.ndarray]], reference: str
) -> dict[str, Registration]:
    found = {}
    for modality, volume in volumes.items():
        if modality == reference:
            continue
        found[modality] = register(volumes[reference], volume)
        if misfit := found[modality].misfit:
            raise VolumeFileError(
                f"{item.images[modality]}: does not fit {item.images[reference].name} after registration: {misfit}; "
                "are they of the same patient, and do both show the whole head (or both only the brain)?"
            )
    return found


def _moved(registrations: Mapping[str, Registration], modality: str, affine: np.ndarray) -> np.ndarray:
    """The affine that leads to the reference's millimetres."""
    return registrations[modality].matrix @ affine if modality in registrations else affine


def _covered(brain: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], own_affine: np.ndarray) -> float:
    """Share of the brain's voxels that lie within the grid of another volume."""
    places = np.argwhere(brain != 0)
    to_own = np.linalg.inv(own_affine) @ affine
    index = places @ to_own[:3, :3].T + to_own[:3, 3]
    inside = ((index >= -0.5) & (index <= np.array(shape[:3]) - 0.5)).all(axis=1)
    return float(inside.mean()) if len(places) else 0.0


def _read_images(item: CaseInput) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if item.channels:
        path = next(iter(item.images.values()))
        array, affine = read_volume(path)
        volumes = {m: (array[..., item.channels.index(m)], affine) for m in item.images}
    else:
        volumes = {modality: read_volume(path) for modality, path in item.images.items()}
    for modality, (array, _) in volumes.items():
        if array.ndim != 3 or min(array.shape) < 2:
            raise VolumeFileError(
                f"{item.images[modality]}: has shape {array.shape}; a volume has three axes of 2 or more voxels."
            )
        if array.min() == array.max():
            raise VolumeFileError(f"{item.images[modality]}: is constant ({array.flat[0]:g} everywhere in {modality}).")
    return volumes


def _read_mask(
    path: Path, headers: Mapping[str, VolumeHeader], tolerance_mm: float, reference: str
) -> tuple[np.ndarray, np.ndarray, str, list[str]]:
    """The mask, its affine, the image that it was drawn on (the reference if it fits that), and others that it fits."""
    array, affine = read_volume(path)
    here = VolumeHeader(path, array.shape, affine)
    fitting = [m for m, header in headers.items() if grid_disagreement(header, here, tolerance_mm) is None]
    if not fitting:
        image = next(iter(headers.values()))
        raise VolumeFileError(
            f"{path}: the mask matches none of the images. Its grid is {here.grid} and its affine "
            f"{affine_text(affine)}; {image.path.name} has the grid {image.grid} and the affine "
            f"{affine_text(image.affine)}. Correct its header, or draw it on one of the images."
        )
    if not np.array_equal(array, np.rint(array)) or array.min() < 0 or array.max() > 255:
        raise VolumeFileError(f"{path}: a mask must hold whole numbers from 0 to 255; this one has other values.")
    drawn_on = reference if reference in fitting else fitting[0]
    return array, affine, drawn_on, [modality for modality in fitting if modality != drawn_on]


def _table(item: CaseInput, settings: PreparationSettings) -> BratsLabels | None:
    release = item.release or settings.release
    return brats_labels(release, item.tumour_type or "GLI") if release else None


def _check_labels(path: Path, array: np.ndarray, table: BratsLabels | None) -> None:
    if table is not None and (unknown := table.unknown(np.unique(array))):
        raise VolumeFileError(
            f"{path}: holds {', '.join(f'{v:g}' for v in unknown[:5])}, not among the labels of BraTS {table.release} "
            f"({', '.join(f'{v} {name}' for v, name in table.names.items())}); give its release."
        )


def _tensor(array: np.ndarray, affine: np.ndarray) -> MetaTensor:
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    return MetaTensor(values, affine=torch.from_numpy(np.asarray(affine, dtype=np.float64)), meta={"space": "RAS"})
