"""`ckdmed check-datalist`: check a datalist against its files."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.counted import counted

NAME = "check-datalist"
HELP = (
    "check a datalist: no patient in two sections, all files present, own images and masks readable; on request also "
    "hashes and a manifest"
)
EXAMPLES = (
    "ckdmed check-datalist path/to/figshare/datalist.json",
    "ckdmed check-datalist datalist.json --dataset_dir path/to/figshare --hashes",
    "ckdmed check-datalist path/to/my_slices/datalist.json",
)
STATUSES = {1: "the datalist has problems; each is listed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("datalist", type=Path, help="datalist of Figshare slices, of your own images or of BraTS cases")
    parser.add_argument(
        "--dataset_dir", "--dataset-dir", type=Path, help="folder of the files (default: the datalist's folder)"
    )
    parser.add_argument("--hashes", action="store_true", help="read every Figshare slice and compare its SHA-256")
    parser.add_argument("--manifest", type=Path, help="compare with a manifest, such as data_manifests/figshare.json")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Check the datalist.

    Returns:
        0 when it is sound, else 1 (every problem is named).
    """
    from ckdmed.data.brats import is_brats_datalist
    from ckdmed.data.datalist import read_datalist
    from ckdmed.data.datalist_form import SECTIONS
    from ckdmed.data.integrity import datalist_problems
    from ckdmed.data.manifest import read_manifest
    from ckdmed.data.slice_datalist import is_slice_datalist
    from ckdmed.json_files import read_json

    if not args.datalist.is_file():
        raise ValueError(f"{args.datalist}: no such datalist.")
    content = read_json(args.datalist)
    cases = is_brats_datalist(content)
    if cases or is_slice_datalist(content):
        if args.hashes or args.manifest:
            raise ValueError(
                f"{args.datalist}: --hashes and --manifest are for datalists that `ckdmed datalist` wrote; this one "
                "has no hashes."
            )
        if cases:
            return _told(args.datalist, *_of_cases(args.datalist, args.dataset_dir or args.datalist.parent))
        if args.dataset_dir:
            raise ValueError(f"{args.datalist}: paths of your own images are relative to their datalist's folder.")
        return _told(args.datalist, *_of_own_images(args.datalist, not args.quiet))
    datalist = read_datalist(args.datalist)
    manifest = None if args.manifest is None else read_manifest(args.manifest)
    folder = args.dataset_dir or args.datalist.parent
    problems = datalist_problems(datalist, folder, args.hashes, manifest, progress=not args.quiet)
    return _told(args.datalist, counted(sum(len(datalist[name]) for name in SECTIONS), "slice"), problems)


def _of_own_images(path: Path, progress: bool) -> tuple[str, list[str]]:
    """What a datalist of a user's own images holds, and what is wrong with it."""
    from ckdmed.data.datalist_form import SECTIONS
    from ckdmed.data.integrity import own_image_problems
    from ckdmed.data.slice_datalist import UnreadKeyWarning, read_slice_datalist
    from ckdmed.data.splits import check_no_group_crosses
    from ckdmed.json_files import read_json

    content = read_json(path)
    entries: list[Any] = [one for name in SECTIONS for one in content.get(name) or []]
    # sections that are not given are split by what is labelled
    masks = any(isinstance(one, Mapping) and one.get("label") for one in entries)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_slice_datalist(path, progress=progress, target="label" if masks else "class")
    told = [one for one in caught if issubclass(one.category, UserWarning)]
    for one in told:
        # notes are allowed
        if issubclass(one.category, UnreadKeyWarning):
            print(one.message)
    problems = [str(one.message) for one in told if not issubclass(one.category, UnreadKeyWarning)]
    try:
        check_no_group_crosses({name: found[name] for name in SECTIONS})
    except ValueError as error:
        problems.append(f"{path}: {error}")
    problems += own_image_problems([item for name in SECTIONS for item in found[name]], path.parent, progress)
    return counted(sum(len(found[name]) for name in SECTIONS), "slice"), problems


def _of_cases(path: Path, folder: Path) -> tuple[str, list[str]]:
    """The same of a datalist of BraTS cases."""
    from ckdmed.data.brats import read_brats_datalist
    from ckdmed.data.datalist_form import SECTIONS
    from ckdmed.sections.brats import check_listed_cases, check_persons

    datalist = read_brats_datalist(path)
    problems = []
    try:
        check_listed_cases(datalist, folder, ())
        check_persons(datalist, folder / path.name)
    except ValueError as error:
        problems.append(str(error))
    return counted(sum(len(datalist[name]) for name in SECTIONS), "case"), problems


def _told(path: Path, found: str, problems: list[str]) -> int:
    for problem in problems:
        print(problem)
    print(f"{path}: {found}, {counted(len(problems), 'problem')}")
    return 1 if problems else 0
