"""`ckdmed check-datalist`: check a datalist against its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.counted import counted

NAME = "check-datalist"
HELP = "check a datalist: no patient in two sections, files present, hashes and manifest on demand"
EXAMPLES = (
    "ckdmed check-datalist path/to/figshare/datalist.json",
    "ckdmed check-datalist datalist.json --dataset_dir path/to/figshare --hashes",
)
STATUSES = {1: "the datalist has problems: each is named"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("datalist", type=Path, help="the datalist")
    parser.add_argument(
        "--dataset_dir", "--dataset-dir", type=Path, help="folder of the files (default: that of the datalist)"
    )
    parser.add_argument("--hashes", action="store_true", help="read every file and compare its SHA-256")
    parser.add_argument("--manifest", type=Path, help="compare with a manifest, such as data_manifests/figshare.json")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Check the datalist.

    Returns:
        0 when it is sound, else 1 (every problem is named).
    """
    from ckdmed.data.datalist import read_datalist
    from ckdmed.data.datalist_form import SECTIONS
    from ckdmed.data.integrity import datalist_problems
    from ckdmed.data.manifest import read_manifest

    datalist = read_datalist(args.datalist)
    manifest = None if args.manifest is None else read_manifest(args.manifest)
    folder = args.dataset_dir or args.datalist.parent
    problems = datalist_problems(datalist, folder, args.hashes, manifest, progress=not args.quiet)
    for problem in problems:
        print(problem)
    slices = sum(len(datalist[name]) for name in SECTIONS)
    print(f"{args.datalist}: {counted(slices, 'slice')}, {counted(len(problems), 'problem')}")
    return 1 if problems else 0
