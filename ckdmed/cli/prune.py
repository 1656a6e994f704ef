"""`ckdmed prune`: remove channels of a trained network, or nodes of a UNet++, for real."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_output_dir

NAME = "prune"
HELP = "make a trained segmentation network smaller: fewer channels, or a shallower UNet++"
EXAMPLES = (
    "ckdmed prune path/to/run --ratio 0.5 --dataset_dir figshare --output_dir pruned",
    "ckdmed prune path/to/unet_plus_plus_run --dataset_dir figshare --output_dir pruned",
)
_TOLERANCE = 0.01
_CALIBRATION = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("source", metavar="RUN", help="a run's output folder, a bundle's folder, or a bundle's name")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="other weights than its models/model.pt")
    add_output_dir(parser, "output folder for model.pt and model.json")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ratio", type=float, help="share of the channels of each layer to remove, such as 0.5")
    what.add_argument(
        "--depth", type=int, help="depth of a UNet++, 1 to 4 (default without --ratio: chosen on the validation set)"
    )
    parser.add_argument(
        "--tolerance", type=float, help=f"largest loss of Dice for the chosen depth (default: {_TOLERANCE})"
    )
    parser.add_argument(
        "--dataset_dir", metavar="FOLDER", help="the data of the run (default: phantoms, for a run on phantoms)"
    )
    parser.add_argument(
        "--images", type=int, help="use at most this many validation images, spread over the patients (default: all)"
    )
    parser.add_argument(
        "--calibration",
        type=int,
        metavar="N",
        help="with --ratio: training images, without labels, used to rank the channels; 0 ranks by the weights alone "
        f"(default: {_CALIBRATION})",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Prune, write, and print the figures before and after."""
    from ckdmed.bundle.as_teacher import is_of_a_student
    from ckdmed.bundle.trained import recorded_settings
    from ckdmed.pruning import prune

    if args.tolerance is not None and (args.ratio is not None or args.depth is not None):
        raise ValueError("--tolerance is for choosing a depth, which neither --ratio nor --depth leaves open.")
    if args.calibration is not None and args.ratio is None:
        raise ValueError("--calibration is for choosing channels; give their share with --ratio.")
    sizes = prune(
        args.source,
        args.output_dir,
        checkpoint=args.checkpoint,
        ratio=args.ratio,
        depth=args.depth,
        tolerance=_TOLERANCE if args.tolerance is None else args.tolerance,
        dataset_dir=args.dataset_dir,
        images=args.images,
        calibration=_CALIBRATION if args.calibration is None else args.calibration,
        progress=not args.quiet,
    )
    width = max(len(size.name) for size in sizes)
    # of phantoms it says that masks come out, and nothing of patients
    scored = "validation" if args.dataset_dir else "phantoms"
    print(f"{'network':<{width}}  {'parameters':>12}  {'GFLOPs':>8}  {'ms':>8}  Dice ({scored})")
    for size in sizes:
        cost = f"{size.parameters:>12,}  {size.gflops:>8.3f}  {size.milliseconds:>8.2f}"
        print(f"{size.name:<{width}}  {cost}  {size.dice:.4f}")
    weights = args.output_dir / "model.pt"
    # what a student may start from; a teacher goes on as one
    if is_of_a_student(weights, recorded_settings(weights) or {}):
        further = f"train it further with a teacher, using --student_pretrained {weights}"
    else:
        further = f"let it teach a student, using --teacher_checkpoint {weights}"
    print(f"{sizes[-1].name} is in {args.output_dir}; {further}")
    return 0
