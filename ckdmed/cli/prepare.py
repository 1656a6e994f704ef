"""Prepare BraTS cases, other NIfTI files or DICOM series."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ckdmed.cli.case_arguments import add_mask_is, add_patients, add_release, patients_of, print_unused
from ckdmed.cli.overwriting import add_output_dir
from ckdmed.counted import counted

NAME = "prepare"
HELP = "resample, normalise and convert NIfTI or DICOM volumes to NIfTI, HDF5, NumPy or PNG"
EXAMPLES = (
    "ckdmed prepare path/to/volumes --output_dir prepared",
    "ckdmed prepare --image t1c=case/t1c.nii.gz --image t2f=case/flair.nii.gz --output_dir prepared --format png",
)
STATUSES = {1: "cases were refused or skipped, each listed; the others are prepared"}


def _image(text: str) -> tuple[str, Path]:
    modality, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODALITY=PATH")
    return modality, Path(path)


def _modality(name: str) -> str:
    """The modality that a name means, such as t1c for t1ce."""
    from ckdmed.data.brats import MODALITIES
    from ckdmed.data.brats.names import parse_free_name

    parsed = parse_free_name(name)
    if parsed is None or parsed[0] or parsed[1] not in MODALITIES:
        raise ValueError(f"--coregister must be one of {', '.join(MODALITIES)}, got {name!r}.")
    return parsed[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        metavar="FOLDER",
        help="folder with BraTS cases, NIfTI files named <case>_t1 and so on, or DICOM folders named by modality",
    )
    add_output_dir(parser, "output folder; each case gets its own subfolder")
    one = parser.add_argument_group("a single case, given by its files")
    one.add_argument(
        "--image",
        type=_image,
        action="append",
        default=[],
        metavar="MODALITY=PATH",
        help="NIfTI file or DICOM folder of t1n, t1c, t2w or t2f; once per modality, instead of FOLDER",
    )
    one.add_argument("--case", help="name of the case (default: the first image's folder)")
    one.add_argument(
        "--seg", type=Path, metavar="FILE", help="mask of the case; with a single FOLDER, replaces the case's own"
    )
    one.add_argument(
        "--brain-mask", type=Path, metavar="FILE", help="brain mask of the case (default: computed, see --brain)"
    )
    grid = parser.add_argument_group("grid")
    grid.add_argument(
        "--modalities", nargs="+", metavar="NAME", help="modalities to use, of t1n t1c t2w t2f (default: all available)"
    )
    grid.add_argument("--reference", metavar="NAME", help="modality whose grid is used (default: the first)")
    grid.add_argument(
        "--coregister",
        metavar="NAME",
        help="register the other images to this one (t1c, or t1ce): rigid, by mutual information; its grid is used",
    )
    grid.add_argument("--orientation", default="LPS", help="axis orientation (default: %(default)s, as in BraTS)")
    grid.add_argument(
        "--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), metavar="MM", help="voxel spacing (default: 1 1 1)"
    )
    grid.add_argument("--keep-spacing", action="store_true", help="keep the reference's own spacing")
    grid.add_argument("--size", type=int, nargs=3, metavar="VOXELS", help="crop or pad to this size (default: neither)")
    values = parser.add_argument_group("values")
    values.add_argument(
        "--brain",
        choices=("auto", "nonzero", "tissue"),
        default="auto",
        help="brain mask: all non-zero voxels (skull-stripped images), the tissue of the head, or chosen automatically "
        "(default: %(default)s)",
    )
    values.add_argument(
        "--normalise",
        choices=("zscore", "unit", "none"),
        default="zscore",
        help="intensities over the brain: z-scores, [0, 1], or unchanged (default: %(default)s)",
    )
    values.add_argument("--n4", action="store_true", help="correct the bias field of each image first (N4)")
    values.add_argument("--clahe", action="store_true", help="equalise the contrast of each slice first")
    values.add_argument(
        "--clahe-limit", type=float, default=0.01, metavar="SHARE", help="clip limit of --clahe (default: %(default)s)"
    )
    add_release(values)
    names = parser.add_argument_group("what names do not tell")
    add_mask_is(names)
    add_patients(names)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--format", choices=("nifti", "hdf5", "npy", "png"), default="nifti", help="file format (default: %(default)s)"
    )
    output.add_argument(
        "--plane", choices=("axial", "coronal", "sagittal"), default="axial", help="slice plane (default: %(default)s)"
    )
    output.add_argument("--png-size", type=int, metavar="PIXELS", help="edge length of PNG slices (default: unchanged)")
    output.add_argument("--no-picture", action="store_true", help="do not write summary.png")
    output.add_argument("--workers", type=int, default=1, help="number of processes (default: %(default)s)")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    import os
    from dataclasses import replace

    from ckdmed.data.brats import SkippedCase
    from ckdmed.data.input_walk import UnusedFiles
    from ckdmed.data.patient_table import check_patients
    from ckdmed.paths import checked_name
    from ckdmed.preparation import PreparationSettings, find_inputs, folder_not_searched, prepare_cases, single_input

    onto = None if args.coregister is None else _modality(args.coregister)
    if onto is not None and args.reference not in (None, onto):
        raise ValueError(f"--coregister {args.coregister} takes that image's grid; leave --reference out.")
    settings = PreparationSettings(
        modalities=tuple(args.modalities) if args.modalities else None,
        reference=onto or args.reference,
        coregister=onto is not None,
        n4=args.n4,
        orientation=args.orientation,
        spacing=None if args.keep_spacing else tuple(args.spacing),
        size=tuple(args.size) if args.size else None,
        brain=args.brain,
        normalise=args.normalise,
        clahe=args.clahe,
        clahe_limit=args.clahe_limit,
        format=args.format,
        plane=args.plane,
        png_size=args.png_size,
        release=args.release,
        picture=not args.no_picture,
    )
    if bool(args.image) == bool(args.folders):
        raise ValueError("give either folders, or one case with --image.")
    if args.image and (args.modalities or args.mask_is):
        raise ValueError("--modalities and --mask-is choose among the files of folders; leave them out with --image.")
    skipped: list[SkippedCase] = []
    unused = UnusedFiles()
    if args.image:
        images = dict(args.image)
        if len(images) != len(args.image):
            raise ValueError("a modality is given twice with --image.")
        case = args.case or Path(os.path.abspath(args.image[0][1])).parent.name
        inputs = [single_input(images, case, args.seg, args.brain_mask)]
        given = [path.parent for path in images.values()]
    else:
        given = args.folders
        exclude = folder_not_searched(args.output_dir, given)
        # what is to be brought together need not lie together
        tolerance_mm = math.inf if settings.coregister else settings.tolerance_mm
        inputs, skipped = find_inputs(given, settings.modalities, tolerance_mm, exclude, args.mask_is, unused)
        if args.case:
            checked_name(args.case, "--case")
        if args.case or args.seg or args.brain_mask:
            if len(inputs) != 1:
                raise ValueError(f"--case, --seg and --brain-mask are for one case; the folders hold {len(inputs)}.")
            own = inputs[0]
            inputs = [
                replace(
                    own,
                    case=args.case or own.case,
                    label=args.seg or own.label,
                    brain=args.brain_mask or own.brain,
                )
            ]
    patients = patients_of(args)
    check_patients(patients, [item.case for item in inputs] + [entry.case for entry in skipped], args.patients)
    inputs = [replace(item, patient=patients.get(item.case, item.patient)) for item in inputs]
    results = prepare_cases(inputs, args.output_dir, settings, args.workers, progress=not args.quiet, given=given)
    for result in results:
        print(f"{result.status:9} {result.case}: {result.message} ({result.seconds:.1f} s)")
    for entry in skipped:
        print(f"{'skipped':9} {entry.case}: {entry.reason}")
    print_unused(unused)
    refused = sum(result.status == "refused" for result in results) + len(skipped)
    doubtful = sum(bool(result.doubts) for result in results)
    doubts = f", {doubtful} with a doubt that its line names" if doubtful else ""
    total = counted(len(results) + len(skipped), "case")
    print(f"{total}, {refused} of them refused or skipped{doubts}; in {args.output_dir}")
    return 1 if refused else 0
