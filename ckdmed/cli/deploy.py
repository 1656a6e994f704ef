"""`ckdmed deploy`: write a trained network as files for ONNX Runtime, OpenVINO and TorchScript."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_output_dir

NAME = "deploy"
HELP = "export a trained network to ONNX, OpenVINO or TorchScript, also in int8, with a table of speed and accuracy"
EXAMPLES = (
    "ckdmed deploy seg_kd --formats onnx torchscript --output_dir deployed",
    "ckdmed deploy seg_kd --dataset_dir path/to/figshare --formats onnx onnx-int8 openvino openvino-int8 "
    "--output_dir deployed",
)
_CALIBRATION = 100
_ROUNDS = 15
STATUSES = {1: "a format cannot be made or changes the results too much and is not written; the others are"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("source", metavar="RUN_OR_BUNDLE", help="a run's output folder, a bundle's folder or its name")
    add_output_dir(parser, "folder to write; must be new or empty")
    parser.add_argument(
        "--formats",
        nargs="+",
        default=["onnx"],
        metavar="FORMAT",
        help="one or more of onnx, onnx-int8, openvino, openvino-int8, torchscript (default: onnx)",
    )
    parser.add_argument("--checkpoint", help="other weights than models/model.pt of the run or bundle")
    parser.add_argument(
        "--dataset_dir", "--dataset-dir", help="the bundle's data, which int8 needs (default: phantoms)"
    )
    parser.add_argument(
        "--section", default="test", help="section of the data on which the formats are judged (default: test)"
    )
    parser.add_argument("--calibration", type=int, help=f"training slices for int8 (default: {_CALIBRATION})")
    parser.add_argument(
        "--held_out",
        type=int,
        help="judge on at most this many items, spread over the patients (default: the whole section)",
    )
    parser.add_argument(
        "--mean_drop", type=float, default=0.005, help="allowed drop of the mean score (default: 0.005)"
    )
    parser.add_argument("--worst_drop", type=float, default=0.05, help="allowed loss of a single slice (default: 0.05)")
    parser.add_argument("--changed", type=float, default=0.05, help="allowed share of changed slices (default: 0.05)")
    parser.add_argument("--force", action="store_true", help="also write formats that fail the check")
    parser.add_argument(
        "--finetune",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="if int8 fails, fine-tune with quantisation (NNCF) for so many epochs",
    )
    parser.add_argument("--rounds", type=int, help=f"timing rounds (default: {_ROUNDS})")
    parser.add_argument("--no_timing", action="store_true", help="write and judge the formats without timing them")


def run(args: argparse.Namespace) -> int:
    """Deploy.

    Returns:
        0 when every form was written; 1 when some were not.
    """
    from ckdmed.deploy import DeployOptions, Limits, deploy

    if args.calibration is not None and not any(name.endswith("int8") for name in args.formats):
        raise ValueError("--calibration is for int8, but --formats names none; leave it out, or add onnx-int8.")
    if args.rounds is not None and args.no_timing:
        raise ValueError("--rounds is for the timing, which --no_timing leaves out: give one of the two.")
    options = DeployOptions(
        formats=args.formats,
        dataset_dir=args.dataset_dir,
        section=args.section,
        calibration=_CALIBRATION if args.calibration is None else args.calibration,
        held_out=args.held_out,
        limits=Limits(args.mean_drop, args.worst_drop, args.changed),
        force=args.force,
        finetune=args.finetune,
        rounds=_ROUNDS if args.rounds is None else args.rounds,
        measure=not args.no_timing,
    )
    result = deploy(args.source, args.output_dir, options, args.checkpoint)
    print((Path(args.output_dir) / "deploy.md").read_text(encoding="utf-8"))
    written = [form.name for form in result.forms if form.written]
    print(f"{', '.join(written) or 'no form'} of {result.bundle} in {Path(args.output_dir).absolute()}")
    return 0 if result.complete else 1
