"""Check that the masks of BraTS cases fit their images."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.case_arguments import add_mask_is, add_modalities, add_release, print_unused
from ckdmed.cli.overwriting import add_force, refuse_existing

NAME = "check-brats"
HELP = "check the masks of BraTS cases: grid, affine, labels, tumour outside the brain"
EXAMPLES = (
    "ckdmed check-brats path/to/brats",
    "ckdmed check-brats path/to/brats --csv masks.csv",
    "ckdmed check-brats path/to/lgg --modalities t1n t1c t2f",
)
STATUSES = {1: "masks do not fit or cases were skipped; each is listed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder with the cases, at any depth")
    parser.add_argument(
        "--seg",
        type=Path,
        metavar="FILE",
        help="mask to check instead of the case's own; the folder must hold a single case",
    )
    add_modalities(parser)
    add_release(parser)
    add_mask_is(parser)
    parser.add_argument(
        "--outside-limit",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="largest allowed share of a tumour outside the brain (default: %(default)s)",
    )
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    add_force(parser, "a file of --csv")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    import csv

    from tqdm import tqdm

    from ckdmed.data.brats import MODALITIES, SkippedCase, brats_labels, check_mask, find_brats_cases
    from ckdmed.data.brats.releases import decided_releases, labels_of
    from ckdmed.data.input_walk import UnusedFiles
    from ckdmed.files import write_atomic

    if args.csv is not None:
        refuse_existing(args.csv, args.force)
    unused = UnusedFiles()
    cases, skipped = find_brats_cases(
        args.folder,
        args.modalities or MODALITIES,
        require_label=False,
        tolerance_mm=float("inf"),
        mask_is=args.mask_is,
        unused=unused,
    )
    if args.seg is not None and len(cases) != 1:
        raise ValueError(f"--seg is for one case; {args.folder} holds {len(cases)}.")
    names = [case.name for case in cases]
    masks = {case.case: args.seg or case.label for case in cases}
    releases = decided_releases(names, labels_of(names, masks, args.release), args.release)
    rows = []
    for case in tqdm(cases, desc="checking masks", unit="case", disable=args.quiet):
        mask = masks[case.case]
        if mask is None:
            skipped.append(SkippedCase(case.case, "there is no mask."))
            continue
        table = brats_labels(releases[case.case], case.name.tumour_type or "GLI")
        rows.append(check_mask(case.case, case.images, mask, table, args.outside_limit))
    width = max([len(row.case) for row in rows] + [4])
    print(f"{'case':<{width}}  grid  affine  {'labels':<20}{'tumour':>9}{'outside':>9}{'share':>8}  verdict")
    for row in rows:
        flags = f"{'yes' if row.grid else 'NO':<4}  {'yes' if row.affine else 'NO':<6}"
        numbers = f"{row.tumour_voxels:>9}{row.outside_voxels:>9}{row.outside_share:>8.2%}"
        print(f"{row.case:<{width}}  {flags}  {row.labels:<20}{numbers}  {'; '.join(row.problems) or 'fits'}")
    for entry in skipped:
        print(f"skipped {entry.case}: {entry.reason}")
    print_unused(unused)
    if args.csv is not None:
        header = ["case", "grid", "affine", "labels", "tumour_voxels", "outside_voxels", "outside_share", "problems"]

        def write(path: Path) -> None:
            with open(path, "w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(header)
                for row in rows:
                    values = [row.tumour_voxels, row.outside_voxels, f"{row.outside_share:.6f}"]
                    writer.writerow([row.case, row.grid, row.affine, row.labels, *values, "; ".join(row.problems)])

        print(f"table: {write_atomic(args.csv, write)}")
    return 1 if skipped or any(row.problems for row in rows) else 0
