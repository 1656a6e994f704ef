"""`ckdmed-runtime FORM INPUTS --output_dir FOLDER`: masks or classes from a deployed file, without PyTorch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ckdmed.counted import counted
from ckdmed.runtime.forms import open_form
from ckdmed.runtime.predict import Predictor
from ckdmed.runtime.run import RuntimeReport, predict_folder

__all__ = ["main"]

_SKIPPED_STATUS = 3


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="ckdmed-runtime",
        description="Segment or classify slices with a deployed file, without PyTorch. Exit status: 0 all inputs done, "
        "2 refused, 3 inputs were skipped (report.json says why).",
        epilog="example: ckdmed-runtime deployed/model.onnx slices --output_dir masks",
    )
    parser.add_argument("form", type=Path, metavar="FORM", help="model.onnx or model.xml written by `ckdmed deploy`")
    parser.add_argument("inputs", type=Path, metavar="INPUTS", help="a file, a folder or a datalist")
    parser.add_argument("--output_dir", "--out", type=Path, required=True, metavar="FOLDER", help="folder for results")
    parser.add_argument("--section", help="section of a datalist (default: test)")
    parser.add_argument("--threshold", type=float, help="mask threshold (default: that of the bundle's inference)")
    parser.add_argument(
        "--tta", choices=("true", "false"), help="average over mirror images (default: as in the bundle)"
    )
    parser.add_argument(
        "--slice_axis", help="slice axis of volumes: 0, 1, 2, -1, axial, coronal or sagittal (default: -1)"
    )
    parser.add_argument("--threads", type=int, help="number of threads (default: all cores)")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="redo results that another deployed file, other settings or earlier versions of the inputs made in the "
        "output folder; what somebody edited stays",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is that of the parser's description."""
    args = build_parser().parse_args(argv)
    try:
        _check(args)
        axis = args.slice_axis
        predictor = Predictor(
            open_form(args.form, args.threads),
            threshold=args.threshold,
            tta=None if args.tta is None else args.tta == "true",
            slice_axis=int(axis) if axis is not None and axis.lstrip("-").isdecimal() else axis,
        )
        for step in predict_folder(predictor, args.inputs, args.output_dir, args.section or "test", args.replace):
            if isinstance(step, RuntimeReport):
                return _told(step, args.output_dir)
            print(step, file=sys.stderr)
    except ModuleNotFoundError as error:
        if args.debug:
            raise
        package = str(error.name).partition(".")[0]
        print(f"ckdmed-runtime: error: {args.form} needs {package}: pip install {package}", file=sys.stderr)
    except (ValueError, OSError, RuntimeError) as error:
        if args.debug:
            raise
        print(f"ckdmed-runtime: error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _check(args: argparse.Namespace) -> None:
    """Raise ValueError for an option that would do nothing, or be taken for its default."""
    if args.section is not None and args.inputs.suffix.lower() != ".json":
        raise ValueError(
            f"--section {args.section}: only a datalist has sections, and {args.inputs} is none; leave it out, or give "
            "the datalist's JSON file."
        )
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {args.threads}.")


def _told(report: RuntimeReport, folder: Path) -> int:
    for line in report.unused:
        print(line, file=sys.stderr)
    for entry in report.skipped:
        print(f"skipped {entry.reason}", file=sys.stderr)
    results, skipped = counted(len(report.results), "result"), counted(len(report.skipped), "input")
    print(f"{results} in {folder.resolve()}; {skipped} skipped")
    return _SKIPPED_STATUS if report.skipped else 0
