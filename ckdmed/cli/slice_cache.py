"""Cut the cases of a datalist into cached slices."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_output_dir

NAME = "slice-cache"
HELP = "slice the BraTS cases of a datalist to disk, for 2D training"
EXAMPLES = (
    "ckdmed slice-cache path/to/brats/datalist.json --output_dir slices",
    "ckdmed slice-cache datalist.json --base-dir path/to/brats --output_dir slices --workers 2",
)
STATUSES = {1: "cases were skipped, each listed; the others are in the cache"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datalist", type=Path, help="datalist written by brats-datalist")
    add_output_dir(
        parser,
        "cache folder; up-to-date slices in it are kept. A training with --cache_dir X looks in a subfolder of X named "
        "after its sequences, such as X/slices-t1n-t1c-t2w-t2f",
    )
    parser.add_argument("--base-dir", type=Path, help="folder of the cases (default: the datalist's folder)")
    parser.add_argument(
        "--plane", choices=("axial", "coronal", "sagittal"), default="axial", help="slice plane (default: %(default)s)"
    )
    parser.add_argument(
        "--normalise",
        choices=("zscore", "unit", "none"),
        default="zscore",
        help="intensities over the brain (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="data type of the images (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=1, help="number of processes (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from ckdmed.data.brats import SLICE_CATEGORIES, SliceIndex, build_slice_cache, load_brats_datalist

    sections = {
        name: load_brats_datalist(args.datalist, name, args.base_dir) for name in ("training", "validation", "test")
    }
    items = [item for part in sections.values() for item in part]
    made, skipped = build_slice_cache(
        items,
        args.output_dir,
        args.plane,
        args.normalise,
        args.dtype,
        args.workers,
        progress=not args.quiet,
        source_dir=args.base_dir or args.datalist.parent,
        thorough=True,
    )
    for entry in skipped:
        print(f"skipped {entry.case}: {entry.reason}")
    there = {path.name for path in made}
    print(f"{'section':<12}{'cases':>7}{'slices':>8}  " + "  ".join(SLICE_CATEGORIES))
    for name, part in sections.items():
        cases = [item["case"] for item in part if item["case"] in there]
        if not cases:
            continue
        kinds = SliceIndex.read(args.output_dir, cases).categories()
        counts = [int(np.count_nonzero(kinds == kind)) for kind in range(len(SLICE_CATEGORIES))]
        columns = "  ".join(f"{n:>{len(text)}}" for n, text in zip(counts, SLICE_CATEGORIES, strict=True))
        print(f"{name:<12}{len(cases):>7}{len(kinds):>8}  {columns}")
    print(f"cache: {args.output_dir}")
    return 1 if skipped else 0
