"""Finding the inputs of an inference: a file, a folder or a datalist of images of any supported kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ckdmed.data.dicom_series import dicom_stacks
from ckdmed.data.input_walk import OFFICIAL_FOLDS_NAME, InputWalk, SkippedFile, UnusedFiles
from ckdmed.data.output_names import input_stem, output_names
from ckdmed.data.slice_files import file_kind
from ckdmed.json_files import read_json
from ckdmed.paths import PathLike
from ckdmed.section_names import section_in

__all__ = ["FoundInputs", "InputItem", "find_inputs"]

# Stand beside images in published data sets and are none.
_NO_IMAGES = {OFFICIAL_FOLDS_NAME, "dicomdir"}
# A mask beside an image, or a folder of masks beside one of images, as data sets and this package name them.
_MASKS = re.compile(r"(^|[-_ .])(segs?|segmentations?|(brain)?masks?|labels?|labelsT[rs])$", re.IGNORECASE)


@dataclass(frozen=True)
class InputItem:
    """One image: a file, or the files of a DICOM series.

    Args:
        name: for its outputs, with ``/`` between folders; no two items share one.
        files: one, or those of a series in order.
    """

    name: str
    files: tuple[Path, ...]


@dataclass
class FoundInputs:
    """What was found.

    Args:
        items: to be read.
        skipped: files that are no usable input for a cause known already.
        unused: files of other kinds that lie among them.
    """

    items: list[InputItem] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    unused: UnusedFiles = field(default_factory=UnusedFiles)


def find_inputs(path: PathLike, section: str = "test", exclude: PathLike | None = None) -> FoundInputs:
    """Find images.

    A folder is searched with its subfolders: ``.mat``, ``.nii``, ``.nii.gz``, ``.png``, ``.jpg``, ``.jpeg`` and DICOM,
    by suffix (``.dcm``, ``.dicom``, ``.ima``) or content. Files of other kinds, ``cvind.mat``, DICOMDIR, masks
    (``_seg``, ``_mask``, ``_label``, and all but DICOM in folders such as ``masks`` and ``labels``), hidden files, and
    whatever an earlier run wrote (`InputWalk`) are counted, the first few of them named. Links to folders are followed,
    each folder once. DICOM files of one folder become volumes by series, size and orientation.

    A datalist is a JSON file in MONAI's decathlon form; the items of its section are objects with ``image``, or paths.
    Each path is relative to the datalist's folder and names a file or a folder with DICOM series; a list of files is
    one input: a series, or its images for a network of several channels. It is called after its folder where no other
    list has files there, else after its first file.

    Args:
        path: a file, a folder or a datalist (``.json``).
        section: of the datalist; "train" and "training" are one.
        exclude: a folder that is passed over, such as the one for the outputs.

    Raises:
        ValueError: there is no such path, a single file is of no supported kind, a datalist is no JSON or lacks the
            section, or nothing is found at all.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = _in_folder(path, exclude)
    elif not path.is_file():
        raise ValueError(f"{path}: no such file or folder.")
    elif path.suffix.lower() == ".json":
        found = _in_datalist(path, section)
    elif file_kind(path) is None:
        raise ValueError(
            f"{path}: its type cannot be read; give .mat, NIfTI, DICOM, PNG, JPEG, a folder or a datalist."
        )
    else:
        found = _Finder(path.parent)
        found.add_file(path)
    result = found.result()
    if not result.items and not result.skipped:
        raise ValueError(f"{path}: contains nothing that can be read. {'; '.join(result.unused.lines())}".rstrip())
    return result


class _Finder:
    """Collects inputs with their relative paths, from which their names are made at the end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inputs: dict[str, tuple[Path, ...]] = {}
        # those that have their folder's name
        self.folders: set[str] = set()
        self.skipped: list[SkippedFile] = []
        self.unused = UnusedFiles()

    def add_file(self, path: Path, relative: PurePosixPath | None = None) -> None:
        self.add_files(str(relative or self._relative(path)), (path,))

    def add_files(self, relative: str, files: tuple[Path, ...], of_folder: bool = False) -> None:
        """An input by its relative path, or its folder's.

        One that stands twice counts once, and none takes the place of another.
        """
        # stacks of one series (a localiser), a file of the folder's name beside it, channels of several images
        while self.inputs.get(relative, files) != files:
            relative += "+"
        self.inputs[relative] = files
        if of_folder:
            self.folders.add(relative)

    def add_dicom_files(self, folder: Path, paths: Sequence[Path]) -> None:
        stacks, unreadable = dicom_stacks(paths)
        self.skipped += [SkippedFile(path, cause) for path, cause in unreadable]
        parent = self._relative(folder)
        # the folder searched has no name relative to itself
        base = parent if parent.parts else PurePosixPath(folder.resolve().name or "dicom")
        several = sum(len(files) > 1 for files, _ in stacks) > 1
        for files, number in stacks:
            if len(files) == 1:
                self.add_file(files[0])
                continue
            relative = str(base.parent / f"{base.name}_series{number}" if several else base)
            self.add_files(relative, files, of_folder=True)

    def result(self) -> FoundInputs:
        names = output_names(list(self.inputs), self.folders)
        items = [InputItem(name, files) for name, files in zip(names, self.inputs.values(), strict=True)]
        return FoundInputs(items, self.skipped, self.unused)

    def _relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.root).as_posix())


def _in_folder(folder: Path, exclude: PathLike | None, finder: _Finder | None = None) -> _Finder:
    finder = finder or _Finder(folder)
    walk, before = InputWalk(folder, exclude), len(finder.inputs)
    for here, files in walk.folders():
        _add_files(finder, walk, here, files)
    if len(finder.inputs) > before:
        walk.pass_over_prepared()
    else:
        for here, files in walk.prepared():
            _add_files(finder, walk, here, files)
    finder.skipped += [SkippedFile(path, cause) for path, cause in walk.unlisted]
    finder.unused.update(walk.unused)
    return finder


def _add_files(finder: _Finder, walk: InputWalk, here: Path, files: Sequence[Path]) -> None:
    dicom = []
    of_masks = any(_MASKS.search(part) for part in here.relative_to(walk.root).parts)
    for path in files:
        kind = file_kind(path) if path.is_file() or not path.exists() else None
        if of_masks and kind not in (None, "dicom"):
            walk.unused.add("in a folder of masks, by its name", path)
        elif kind is None or path.name.lower() in _NO_IMAGES or _MASKS.search(input_stem(path.name)):
            walk.unused.add("of other types, or masks", path)
        elif kind == "dicom":
            dicom.append(path)
        else:
            finder.add_file(path)
    if dicom:
        finder.add_dicom_files(here, dicom)


def _in_datalist(path: Path, section: str) -> _Finder:
    datalist = read_json(path)
    section = section_in(datalist, section) if isinstance(datalist, dict) else section
    if not isinstance(datalist, dict) or not isinstance(datalist.get(section), list):
        lists = (
            [key for key, value in datalist.items() if isinstance(value, list)] if isinstance(datalist, dict) else []
        )
        raise ValueError(f"{path}: there is no section '{section}'; it has {', '.join(lists) or 'none'}.")
    finder = _Finder(path.parent)
    folders = Counter(str(PurePosixPath(names[0]).parent) for names in map(_listed, datalist[section]) if names)
    for number, entry in enumerate(datalist[section]):
        try:
            _add_entry(finder, entry, folders)
        except ValueError as error:
            finder.skipped.append(SkippedFile(path, f"{path}: {section}[{number}]: {error}"))
    return finder


def _listed(entry: Any) -> list[str]:
    """The files of an entry that lists several."""
    image = entry.get("image") if isinstance(entry, dict) else entry
    names = image if isinstance(image, list) else []
    return names if len(names) > 1 and all(isinstance(name, str) for name in names) else []


def _add_entry(finder: _Finder, entry: Any, folders: Mapping[str, int]) -> None:
    """Add an entry of a datalist; `folders` tells how many entries list several files of a folder."""
    image = entry.get("image") if isinstance(entry, dict) else entry
    names: list[Any] = image if isinstance(image, list) else [image]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"'image' must be a path or a list of paths, got {str(image)[:80]!r}.")
    relatives = []
    for name in names:
        # both conventions: a list written on one system is read on another
        for pure in (PurePosixPath(name), PureWindowsPath(name)):
            if pure.is_absolute() or pure.drive or pure.root or ".." in pure.parts or "\0" in name or not pure.parts:
                raise ValueError(f"the path {name!r} leaves the datalist's folder; paths must be relative to it.")
        relatives.append(PurePosixPath(name))
    paths = tuple(finder.root.joinpath(*relative.parts) for relative in relatives)
    missing = [name for name, path in zip(names, paths) if not path.exists()]
    if missing:
        raise ValueError(f"{finder.root / missing[0]}: no such file.")
    if paths[0].is_dir():
        _in_folder(paths[0], None, finder)
    elif len(paths) > 1:
        parent = relatives[0].parent
        # a folder of its own, as a series has, gives its name
        own = bool(parent.parts) and folders[str(parent)] == 1
        finder.add_files(str(parent if own else relatives[0]), paths, own)
    else:
        finder.add_file(paths[0], relatives[0])
