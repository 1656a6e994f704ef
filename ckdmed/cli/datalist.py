"""`ckdmed datalist`: make the datalist of a folder of Figshare slices."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_force, is_datalist, refuse_existing
from ckdmed.counted import counted

NAME = "datalist"
HELP = "write the datalist (Decathlon JSON) of a folder of Figshare .mat slices, split by patient"
EXAMPLES = (
    "ckdmed datalist path/to/figshare",
    "ckdmed datalist path/to/figshare --folds 5 --output folds.json",
)
STATUSES = {1: "the datalist was written, but files were left out; each is listed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("folder", type=Path, help="folder with <id>.mat files, at any depth")
    parser.add_argument("--output", "--out", type=Path, help="file to write (default: FOLDER/datalist.json)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    shares = parser.add_mutually_exclusive_group()
    shares.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        default=(0.8, 0.1, 0.1),
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions of training, validation and test, which sum to 1 (default: 0.8 0.1 0.1)",
    )
    shares.add_argument("--folds", type=int, metavar="K", help="make K folds instead; each item gets its fold")
    parser.add_argument("--no-hashes", action="store_true", help="do not compute SHA-256 hashes of the files (faster)")
    add_force(parser, "a datalist")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Make and write the datalist.

    Returns:
        0, or 1 when files were left out (each is named).
    """
    from ckdmed.data.datalist import DATALIST_NAME, build_figshare_datalist, write_datalist
    from ckdmed.data.datalist_form import SECTIONS

    target = args.output or args.folder / DATALIST_NAME
    refuse_existing(target, args.force, is_datalist)
    datalist, skipped = build_figshare_datalist(
        args.folder, args.seed, args.fractions, args.folds, hashes=not args.no_hashes, progress=not args.quiet
    )
    output = write_datalist(datalist, target)
    for name in SECTIONS:
        items = datalist[name]
        kinds = [sum(item["tumor_label"] == label for item in items) for label in (1, 2, 3)]
        groups = len({item["patient_group"] for item in items})
        print(
            f"{name:<10} {counted(len(items), 'slice'):>12} of {counted(groups, 'patient'):>13}; "
            f"by tumour label 1/2/3: {kinds}"
        )
    for entry in skipped:
        print(f"left out: {entry.reason}")
    print(
        f"{output}: {counted(sum(len(datalist[name]) for name in SECTIONS), 'slice')}, "
        f"{counted(len(skipped), 'file')} left out"
    )
    return 1 if skipped else 0
