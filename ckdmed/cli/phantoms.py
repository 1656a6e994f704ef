"""Write phantoms: Figshare-like slices or BraTS-like volumes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_force, refuse_existing

NAME = "phantoms"
HELP = "write brain phantoms with tumours (Figshare or BraTS 2023 layout)"
EXAMPLES = (
    "ckdmed phantoms figshare phantoms --patients 20 --preview phantoms.png",
    "ckdmed phantoms brats cases --cases 4 --shape 96 96 64",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    layouts = parser.add_subparsers(title="layouts", dest="layout", metavar="<layout>", required=True)
    figshare = layouts.add_parser("figshare", help=".mat slices of three tumour classes, with cvind.mat")
    figshare.add_argument("folder", type=Path, help="output folder; created if needed, existing files are kept")
    figshare.add_argument("--patients", type=int, default=60, help="number of patients (default: %(default)s)")
    figshare.add_argument(
        "--slices", type=int, nargs=2, default=(3, 6), metavar=("MIN", "MAX"), help="slices per patient (default: 3 6)"
    )
    figshare.add_argument(
        "--size", type=int, default=256, help="edge length of a slice in pixels (default: %(default)s)"
    )
    brats = layouts.add_parser("brats", help="four modalities and a segmentation per case, as .nii.gz")
    brats.add_argument("folder", type=Path, help="output folder; created if needed, existing files are kept")
    brats.add_argument("--cases", type=int, default=8, help="number of cases (default: %(default)s)")
    brats.add_argument(
        "--shape",
        type=int,
        nargs=3,
        default=(240, 240, 155),
        metavar=("X", "Y", "Z"),
        help="shape of a volume in voxels (default: 240 240 155)",
    )
    brats.add_argument(
        "--types",
        nargs="+",
        default=["GLI"],
        metavar="TYPE",
        help="tumour types, of GLI MEN MET PED SSA (default: GLI)",
    )
    brats.add_argument(
        "--time-points",
        type=int,
        nargs=2,
        default=(1, 2),
        metavar=("MIN", "MAX"),
        help="time points per patient (default: 1 2)",
    )
    brats.add_argument(
        "--without-enhancement", type=float, default=0.15, help="share of cases without label 3 (default: %(default)s)"
    )
    brats.add_argument(
        "--dtype", choices=("int16", "float32"), default="int16", help="data type of the images (default: %(default)s)"
    )
    for layout in (figshare, brats):
        layout.add_argument(
            "--seed", type=int, default=0, help="random seed; equal seeds give identical files (default: %(default)s)"
        )
        layout.add_argument("--preview", type=Path, metavar="PNG", help="write a picture of examples to this file")
        add_force(layout, "a preview")
        layout.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms, write_preview

    if args.preview is not None:
        refuse_existing(args.preview, args.force)
    if args.layout == "figshare":
        manifest = write_figshare_phantoms(
            args.folder, args.patients, tuple(args.slices), args.size, args.seed, progress=not args.quiet
        )
    else:
        manifest = write_brats_phantoms(
            args.folder,
            args.cases,
            tuple(args.shape),
            args.seed,
            tumour_types=args.types,
            time_points=tuple(args.time_points),
            without_enhancement=args.without_enhancement,
            dtype=args.dtype,
            progress=not args.quiet,
        )
    print(f"phantoms: {manifest.parent} (list: {manifest})")
    if args.preview is not None:
        print(f"preview: {write_preview(args.folder, args.preview)}")
    return 0
