"""Whether a datalist is sound: patients on one side, files present, bytes unchanged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.load_slices import LoadSliced
from ckdmed.data.patients import patient_group
from ckdmed.data.slice_files import InputFileError
from ckdmed.data.splits import check_no_group_crosses
from ckdmed.file_hash import sha256_of

_MANIFEST_KEYS = ("tumor_label", "patient", "patient_group", "official_fold", "sha256")


def datalist_problems(
    datalist: Mapping[str, Any],
    base_dir: PathLike,
    hashes: bool = False,
    manifest: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool = True,
) -> list[str]:
    """Everything that is wrong with a datalist of the right form (`read_datalist`), one line each; empty when sound.

    Looked at: patient groups that cross sections; a person under two groups, by `patient_group`; the same bytes in two
    items; missing files; with `hashes`, files whose SHA-256 is another one or not in the list; with `manifest`, values
    that differ from it (a value absent on either side is no difference), and a manifest of other slices.

    Args:
        datalist: the datalist.
        base_dir: the dataset's folder.
        hashes: whether to read every file and compare its SHA-256.
        manifest: see `read_manifest`.
        progress: whether to show a progress bar while hashing.
    """
    items = [item for name in SECTIONS for item in datalist[name]]
    problems: list[str] = []
    try:
        check_no_group_crosses({name: datalist[name] for name in SECTIONS})
    except ValueError as error:
        problems.append(str(error))
    by_person: dict[str, set[str]] = defaultdict(set)
    by_hash: dict[str, list[str]] = defaultdict(list)
    for item in items:
        by_person[patient_group(item["patient"])].add(item["patient_group"])
        if item.get("sha256"):
            by_hash[item["sha256"]].append(item["id"])
    problems += [
        f"person '{p}' is in {len(g)} groups: {', '.join(sorted(g))}" for p, g in by_person.items() if len(g) > 1
    ]
    problems += [f"slices {', '.join(ids)} are the same file" for ids in by_hash.values() if len(ids) > 1]
    if manifest is not None and not any(item["id"] in manifest for item in items):
        problems.append("the manifest names none of these slices; does it belong to this data set?")
    for item in items:
        problems += _manifest_differences(item, (manifest or {}).get(item["id"], {}))
    return problems + _file_problems(items, Path(base_dir), hashes, progress)


def _manifest_differences(item: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    pairs = {key: (item.get(key), known.get(key)) for key in _MANIFEST_KEYS}
    return [
        f"slice '{item['id']}': {key} is {found}, the manifest has {expected}"
        for key, (found, expected) in pairs.items()
        if found and expected and found != expected
    ]


def _file_problems(items: list[Mapping[str, Any]], folder: Path, hashes: bool, progress: bool) -> list[str]:
    problems = []
    for item in tqdm(items, desc="checking files", unit="file", disable=not (progress and hashes)):
        for name in sorted({item["image"], item["label"]}):
            if not (folder / name).is_file():
                problems.append(f"slice '{item['id']}': {folder / name} is missing")
        if not hashes or not (folder / item["image"]).is_file():
            continue
        if not item.get("sha256"):
            problems.append(f"slice '{item['id']}': the datalist has no SHA-256")
        elif sha256_of(folder / item["image"]) != item["sha256"]:
            problems.append(
                f"slice '{item['id']}': the SHA-256 of {folder / item['image']} differs from the datalist's"
            )
    return problems


def own_image_problems(items: Sequence[Mapping[str, Any]], base_dir: PathLike, progress: bool = True) -> list[str]:
    """What is wrong with the files of a user's own images and masks, one line each; empty where all can be used.

    Every file is read as a training reads it: damage, a mask of another size or place than its image and channels on
    different grids show here, also those of a test set, which a training never opens.

    Args:
        items: of :func:`~ckdmed.data.slice_datalist.read_slice_datalist`.
        base_dir: the datalist's folder.
        progress: whether to show a progress bar.
    """
    folder, load = Path(base_dir), LoadSliced()
    problems: list[str] = []
    by_number: dict[int, list[str]] = defaultdict(list)
    for item in tqdm(items, desc="reading images", unit="slice", disable=not progress, leave=False):
        names = item["image"] if isinstance(item["image"], list) else [item["image"]]
        by_number[len(names)].append(item["id"])
        label = str(folder / item["label"]) if item["label"] else ""
        try:
            load({**item, "image": [str(folder / name) for name in names], "label": label})
        except InputFileError as error:
            problems.append(str(error))
    if len(by_number) > 1:
        told = ", ".join(
            f"{counted(len(ids), 'slice')} of {n} (such as '{ids[0]}')" for n, ids in sorted(by_number.items())
        )
        problems.append(f"the slices do not all have as many images: {told}; a network has one number of channels")
    # each slice of a volume tells the same of it
    return list(dict.fromkeys(problems))
