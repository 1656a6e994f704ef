"""Bring a mask of a prepared case back to one of its original images."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_force, refuse_existing
from ckdmed.counted import counted

NAME = "restore-mask"
HELP = "map a mask of a prepared case back to the grid of one of its original images, undoing the registration"
EXAMPLES = ("ckdmed restore-mask prepared/case prepared/case/case-seg.nii.gz --modality t2f --output flair-seg.nii.gz",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "case", type=Path, help="folder written by `ckdmed prepare`; the original images must not have moved"
    )
    parser.add_argument("mask", type=Path, help="NIfTI mask on the prepared images")
    parser.add_argument(
        "--modality", required=True, choices=("t1n", "t1c", "t2w", "t2f"), help="modality of the original image"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.nii.gz", help="mask file to write")
    add_force(parser, "a file")


def run(args: argparse.Namespace) -> int:
    """Write the mask.

    Returns:
        0.
    """
    from ckdmed.data.nifti_bytes import nifti_bytes
    from ckdmed.data.volume_reader import is_nifti
    from ckdmed.files import write_atomic
    from ckdmed.preparation.registration_files import mask_in_original

    if not str(args.output).lower().endswith(".nii.gz"):
        raise ValueError(f"{args.output}: the mask is written as .nii.gz.")
    refuse_existing(args.output, args.force)
    mask, affine, original = mask_in_original(args.case, args.mask, args.modality)
    if args.output.resolve() in (original.resolve(), args.mask.resolve()):
        raise ValueError(f"{args.output} is what the mask is made from; it is not replaced even with --force.")
    data = nifti_bytes(mask, affine, original if is_nifti(original) else None)
    write_atomic(args.output, lambda path: path.write_bytes(data))
    print(f"{args.output}: {counted(int((mask > 0).sum()), 'voxel')} on the grid of {original}")
    return 0
