"""Make the datalist of a folder of BraTS cases."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ckdmed.cli.case_arguments import (
    add_mask_is,
    add_modalities,
    add_patients,
    add_release,
    patients_of,
    print_unused,
)
from ckdmed.cli.overwriting import add_force, is_datalist, refuse_existing

NAME = "brats-datalist"
HELP = "find BraTS cases under any naming and split them by patient, stratified by tumour type and enhancing tumour"
EXAMPLES = (
    "ckdmed brats-datalist path/to/brats",
    "ckdmed brats-datalist path/to/brats --patients patients.csv",
)
STATUSES = {1: "the datalist was written, but cases were skipped; each is listed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder with the cases, at any depth")
    parser.add_argument(
        "--output",
        "--out",
        type=Path,
        help="datalist to write (default: FOLDER/datalist.json, where runs with --dataset_dir FOLDER look for it)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: %(default)s)")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        default=(0.8, 0.1, 0.1),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="fractions of the patients in each section (default: 0.8 0.1 0.1)",
    )
    add_modalities(parser)
    parser.add_argument("--without-masks", action="store_true", help="include cases without a mask, for training")
    parser.add_argument(
        "--tumour-type", metavar="TYPE", help="tumour type of cases whose names do not give it (default: GLI)"
    )
    add_release(parser)
    add_mask_is(parser)
    add_patients(parser)
    add_force(parser, "a datalist")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    from ckdmed.data.brats import MODALITIES, TUMOUR_TYPES, build_brats_datalist, write_brats_datalist
    from ckdmed.data.input_walk import UnusedFiles

    target = args.output or args.folder / "datalist.json"
    refuse_existing(target, args.force, is_datalist)
    unused = UnusedFiles()
    datalist, skipped = build_brats_datalist(
        args.folder,
        args.seed,
        args.fractions,
        args.modalities or MODALITIES,
        require_label=not args.without_masks,
        progress=not args.quiet,
        release=args.release,
        tumour_type=args.tumour_type,
        patients=patients_of(args),
        mask_is=args.mask_is,
        unused=unused,
    )
    path = write_brats_datalist(datalist, target)
    for entry in skipped:
        print(f"skipped {entry.case}: {entry.reason}")
    print_unused(unused)
    print(f"{'section':<12}{'cases':>7}{'patients':>10}{'with ET':>9}  " + "".join(f"{t:>6}" for t in TUMOUR_TYPES))
    for section in ("training", "validation", "test"):
        items = datalist[section]
        patients = len({item["patient_group"] for item in items})
        enhancing = sum(bool(item["has_et"]) for item in items)
        types = "".join(f"{sum(item['tumour_type'] == t for item in items):>6}" for t in TUMOUR_TYPES)
        print(f"{section:<12}{len(items):>7}{patients:>10}{enhancing:>9}  {types}")
    print(f"datalist: {path}")
    if path.parent.resolve() != args.folder.resolve():
        print(
            f"{path} is not in {args.folder}, to which its paths are relative: runs with --dataset_dir {args.folder} "
            f"do not use it, inference does not find its images, and slice-cache needs --base-dir {args.folder}. "
            f"Without --output it is written to {args.folder / 'datalist.json'}, where all of them find it.",
            file=sys.stderr,
        )
    return 1 if skipped else 0
