"""A user's own datalist of images, labels and patients, in MONAI's decathlon JSON form."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.datalist_form import SECTIONS, check_relative
from ckdmed.data.nifti_files import affine_mm, is_placed, read_nifti_header
from ckdmed.data.patients import joined_groups, patient_group, spelt_alike
from ckdmed.data.slice_files import InputFileError, file_kind, read_slices
from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.data.splits import split_by_group
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json

__all__ = ["UnreadKeyWarning", "is_slice_datalist", "patient_of", "read_slice_datalist"]

_FORM = "objects with 'image' and 'patient', and 'label' or 'class' where there is one"
_KEYS = ("image", "label", "soft", "pseudo_label", "class", "patient", "id")
# what else the keys are called elsewhere
_OTHER_NAMES = {
    "img": "image",
    "mask": "label",
    "seg": "label",
    "segmentation": "label",
    "pseudo": "pseudo_label",
    "patient_id": "patient",
    "subject": "patient",
    "subject_id": "patient",
}


class UnreadKeyWarning(UserWarning):
    """Items of a datalist have keys that nothing reads: notes of the user, or a key under another name."""


def is_slice_datalist(content: Any) -> bool:
    """Whether a datalist is a user's own: not one that ``ckdmed datalist`` wrote, whose items have ``tumor_label``."""
    if not isinstance(content, Mapping):
        return False
    lists = [content[name] for name in SECTIONS if isinstance(content.get(name), list)]
    items = [item for part in lists for item in part]
    return bool(items) and not any(isinstance(item, Mapping) and "tumor_label" in item for item in items)


def read_slice_datalist(
    path: PathLike,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    slice_axis: int | str = -1,
    progress: bool = True,
    target: str = "label",
) -> dict[str, Any]:
    """Read a user's own datalist; a volume becomes an item for each of its slices.

    ============ =======================================================================================
    key          value
    ============ =======================================================================================
    image        a file (``.mat``, NIfTI, PNG, JPEG, DICOM) or a folder with one DICOM series; a list of
                 them for several channels. Paths are relative to the datalist's folder
    label        the file of its mask (PNG, NIfTI, ``.mat``); without one the image is unlabelled
    soft         true where the mask holds probabilities, 0 to 1 in NIfTI and 0 to 65535 in a 16-bit PNG
    pseudo_label true where networks made the mask, which then only trains
    class        name or number of its class, for classification
    patient      whose image it is
    id           its name; by default the image's path
    ============ =======================================================================================

    Patients who have one and the same image, or whose names differ by case, spaces, hyphens and underscores alone, are
    one person, which a warning names. Another key is a note that nothing reads, of which a warning tells; one that is
    like a key that the item lacks is refused.

    Sections are ``training``, ``validation`` and ``test``. Where only ``training`` is given it is split by patient by
    ``fractions``; where only ``validation`` is missing it is taken from the training patients. Patients with images
    that are unlabelled, or labelled by networks, stay in the training section.

    Args:
        path: the JSON file.
        fractions: of training, validation and test.
        seed: of the split.
        slice_axis: of volumes, see :func:`~ckdmed.data.slice_geometry.spatial_geometry`.
        progress: whether to show a progress bar while volumes are looked at.
        target: what makes an image labelled: "label" (its mask) or "class".

    Returns:
        "training", "validation", "test" -> items with ``id``, ``image``, ``label`` ("" for none), ``class`` (None for
        none), ``slice``, ``patient``, ``patient_group`` and ``tumor_label``, the number of the class by which splits
        are balanced (0 without classes).

    Raises:
        ValueError: no JSON, no training section, images under another key than the sections, an item of another form or
            with a misspelt key, a path that leaves the folder, a missing file, an id that stands twice; too few
            patients for the split.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such datalist.")
    content = read_json(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("training"), list) or not content["training"]:
        raise ValueError(f"{path}: a datalist must be a JSON object with a list 'training' of {_FORM}.")
    _check_sections(content, path)
    sections: dict[str, list[dict[str, Any]]] = {}
    seen: set[str] = set()
    planes: dict[str, list[str]] = defaultdict(list)
    for name in SECTIONS:
        entries = content.get(name, [])
        if not isinstance(entries, list):
            raise ValueError(f"{path}: the section '{name}' is not a list.")
        bar = tqdm(entries, desc=f"{name} images", unit="image", leave=False, disable=not progress)
        sections[name] = [
            item
            for number, entry in enumerate(bar)
            for item in _items(f"{path}: {name}[{number}]", path, entry, slice_axis, planes)
        ]
        for item in sections[name]:
            if item["id"] in seen:
                raise ValueError(f"{path}: the id '{item['id']}' appears twice; give each image its own 'id'.")
            seen.add(item["id"])
    _warn_of_unread_keys(content, path)
    _warn_of_planes(planes, path)
    _join_persons(sections, path)
    if any("soft" in item for part in sections.values() for item in part):
        # the items of a batch have the same keys
        for part in sections.values():
            for item in part:
                item.setdefault("soft", False)
    classes = sorted({item["class"] for part in sections.values() for item in part} - {None}, key=str)
    for part in sections.values():
        for item in part:
            item["tumor_label"] = classes.index(item["class"]) + 1 if item["class"] is not None else 0
    return {"classes": classes, **_split(sections, fractions, seed, target, path)}


def patient_of(entry: Mapping[str, Any]) -> str:
    """Whose image an entry of a datalist is; spaces around the name are none of it."""
    return str(entry["patient"]).strip()


def _check_sections(content: Mapping[str, Any], source: Path) -> None:
    """Images under a name that nothing reads would be missed in silence: a test section that is called `Test`."""
    for name, entries in content.items():
        listed = isinstance(entries, list) and any(isinstance(entry, Mapping) and "image" in entry for entry in entries)
        if listed and name not in SECTIONS:
            raise ValueError(
                f"{source}: lists images under '{name}', which is not a section; the sections are "
                f"{', '.join(SECTIONS)}."
            )


def _join_persons(sections: Mapping[str, Sequence[dict[str, Any]]], source: Path) -> None:
    """Put patients with the same image (a copy, a link, a file listed twice) or one name in two spellings together."""
    groups_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in (item for part in sections.values() for item in part):
        names = item["image"] if isinstance(item["image"], list) else [item["image"]]
        groups_of[tuple(names)].add(item["patient_group"])
    # only what is equally large is read
    alike: dict[tuple[int, ...], list[tuple[str, ...]]] = defaultdict(list)
    for images in groups_of:
        paths = [source.parent / name for name in images]
        alike[tuple(sum(file.stat().st_size for file in _files(path)) for path in paths)].append(images)
    same: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for several in alike.values():
        if len(set().union(*(groups_of[images] for images in several))) > 1:
            for images in several:
                same[tuple(_identity(source.parent / name) for name in images)] |= groups_of[images]
    by_image = [groups for groups in same.values() if len(groups) > 1]
    spelt = spelt_alike(set().union(*groups_of.values()))
    for groups, how in ((by_image, "identical images"), (spelt, "their spelling")):
        if pairs := [f"{group} is {name}" for group, name in sorted(joined_groups(groups).items()) if group != name]:
            warnings.warn(
                f"{source}: patients have several identifiers, judging by {how}: {', '.join(pairs)}", stacklevel=3
            )
    joined = joined_groups([*by_image, *spelt])
    for item in (item for part in sections.values() for item in part):
        item["patient_group"] = joined.get(item["patient_group"], item["patient_group"])


def _files(path: Path) -> list[Path]:
    """The files of an image: itself, or those of a folder with a series."""
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]


def _identity(path: Path) -> str:
    # whatever the files of a series are called
    return " ".join(sorted(map(sha256_of, _files(path))))


def _items(
    where: str, source: Path, entry: Any, slice_axis: int | str, planes: dict[str, list[str]]
) -> list[dict[str, Any]]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is a {type(entry).__name__}; a datalist holds {_FORM}.")
    _check_keys(where, entry)
    images = entry.get("image")
    names: list[Any] = images if isinstance(images, list) else [images]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where}: 'image' must be a path, or a list of paths of the channels, got {images!r}.")
    patient = entry.get("patient")
    if isinstance(patient, bool) or not isinstance(patient, (str, int)) or not patient_of(entry):
        raise ValueError(f"{where}: 'patient' must say whose image it is (splits are by patient), got {patient!r}.")
    label = entry.get("label") or ""
    if not isinstance(label, str):
        raise ValueError(f"{where}: 'label' must be the path of a mask, got {label!r}; a class is given as 'class'.")
    kind = entry.get("class")
    if isinstance(kind, bool) or not isinstance(kind, str | int | None):
        raise ValueError(f"{where}: 'class' must be the name or number of a class, got {kind!r}.")
    soft = entry.get("soft", False)
    if not isinstance(soft, bool) or (soft and not label):
        raise ValueError(f"{where}: 'soft' says whether a mask holds probabilities, true or false; got {soft!r}.")
    pseudo = entry.get("pseudo_label", False)
    if not isinstance(pseudo, bool):
        raise ValueError(f"{where}: 'pseudo_label' says whether networks made the mask, true or false; got {pseudo!r}.")
    for name in [*names, *([label] if label else [])]:
        check_relative(source, name)
        if not (source.parent / name).exists():
            raise ValueError(f"{where}: {source.parent / name}: no such file.")
    name = str(entry.get("id") or Path(names[0]).with_suffix("").as_posix())
    common = {
        "image": names if len(names) > 1 else names[0],
        "label": label,
        "class": kind,
        "patient": patient_of(entry),
        "patient_group": patient_group(patient_of(entry)),
        **({"soft": True} if soft else {}),
        **({"pseudo_label": True} if pseudo else {}),
    }
    count, plane = _slice_count(source.parent / names[0], slice_axis)
    if plane:
        planes[plane].append(names[0])
    if count == 1:
        return [{"id": name, **common, "slice": 0}]
    return [{"id": f"{name}_slice{number:03d}", **common, "slice": number} for number in range(count)]


def _check_keys(where: str, entry: Mapping[str, Any]) -> None:
    """A label under a misspelt key would be missed in silence, and masks that networks made would be scored."""
    for key in entry:
        meant = None if key in _KEYS else _meant(key)
        # beside the key itself it is a note
        if meant and meant not in entry:
            raise ValueError(f"{where}: unknown key '{key}'; did you mean '{meant}'?")


def _meant(key: str) -> str | None:
    """The key that another one probably stands for."""
    plain = "_".join(key.casefold().replace("-", " ").replace("_", " ").split())
    if plain in _KEYS:
        return plain
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    # too much is like a name of two letters; `age` is not to be taken for `image`
    near = difflib.get_close_matches(plain, [name for name in _KEYS if name != "id"], n=1, cutoff=0.8)
    return near[0] if near else None


def _warn_of_unread_keys(content: Mapping[str, Any], source: Path) -> None:
    unread = Counter(key for name in SECTIONS for entry in content.get(name, []) for key in entry if key not in _KEYS)
    if unread:
        told = ", ".join(f"'{key}' (in {counted(number, 'item')})" for key, number in sorted(unread.items()))
        warnings.warn(
            f"{source}: these keys are not read: {told}. The keys of an item are {', '.join(_KEYS)}; if the others "
            "are your own notes, nothing is to be done.",
            UnreadKeyWarning,
            stacklevel=3,
        )


def _slice_count(path: Path, slice_axis: int | str) -> tuple[int, str]:
    """How many slices an image has, and their plane; "" where that is unknown."""
    kind = "folder" if path.is_dir() else file_kind(path)
    if kind in ("mat", "picture"):
        return 1, ""
    if kind == "nifti":
        try:
            header = read_nifti_header(path)
            geometry = spatial_geometry("nifti", header.shape, affine_mm(header), slice_axis, is_placed(header))
        except ValueError as error:
            raise InputFileError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
        return (*geometry.shape, 1)[geometry.axes[0]], geometry.plane if geometry.placed else ""
    slices, geometry = read_slices(path, slice_axis)
    return len(slices), geometry.plane


def _warn_of_planes(planes: Mapping[str, Sequence[str]], source: Path) -> None:
    """Volumes are cut along the last axis of their arrays, which is another direction in each way of storing them."""
    if len(planes) > 1:
        told = ", ".join(f"{len(names)} {plane} (such as {names[0]})" for plane, names in sorted(planes.items()))
        warnings.warn(
            f"{source}: the slices of its files lie in several planes: {told}. If they are to be of one plane, store "
            "the files with that direction as their last axis.",
            stacklevel=3,
        )


def _split(
    sections: dict[str, list[dict[str, Any]]], fractions: Sequence[float], seed: int, target: str, source: Path
) -> dict[str, list[dict[str, Any]]]:
    if sections["validation"]:
        return sections
    shares = (fractions[0], fractions[1], 0.0) if sections["test"] else tuple(fractions)
    given = sections["training"]
    unlabelled = {
        item["patient_group"]
        for item in given
        if item[target] in ("", None) or (target == "label" and "pseudo_label" in item)
    }
    items = [item for item in given if item["patient_group"] not in unlabelled]
    if not items:
        raise ValueError(
            f"{source}: no patient of the section 'training' has a '{target}' for every image, so none can be used "
            f"for validation; give the items their '{target}', or add a section 'validation'."
        )
    groups, classes = [item["patient_group"] for item in items], [item["tumor_label"] for item in items]
    parts = split_by_group(groups, classes, [share / sum(shares) for share in shares], seed)
    training, validation, test = ([items[index] for index in part] for part in parts)
    training += [item for item in given if item["patient_group"] in unlabelled]
    return {"training": training, "validation": validation, "test": sections["test"] or test}
