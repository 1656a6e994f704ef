"""`ckdmed robustness`: scores of a trained network over every corruption and severity, beside those of its teacher."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ckdmed.cli.overwriting import add_output_dir, refuse_existing

if TYPE_CHECKING:
    from ckdmed.reports import RunRecord

NAME = "robustness"
HELP = (
    "score a trained network, and optionally its teacher, under every corruption and severity: table, plot and "
    "records; finished evaluations are not repeated"
)
EXAMPLES = (
    "ckdmed robustness my_run --dataset_dir path/to/figshare --teacher_checkpoint my_run/teacher/teacher.pt "
    "--output_dir robustness",
    "ckdmed robustness my_run --dataset_dir path/to/figshare --corruptions noise low_resolution-3 --images 40 "
    "--output_dir robustness",
    "ckdmed robustness seg_kd --dataset_dir path/to/figshare --section test --final --set threshold=0.3 "
    "--output_dir robustness",
)

_TABLE, _PICTURE, _RECORDS = "robustness.md", "robustness.png", "robustness.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("source", metavar="RUN_OR_BUNDLE", help="a run's output folder, a bundle's folder or its name")
    add_output_dir(
        parser, f"folder for records, evaluations, {_TABLE}, {_PICTURE} and {_RECORDS}; finished ones are kept"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="other weights than its models/model.pt")
    parser.add_argument(
        "--teacher_checkpoint",
        "--teacher-checkpoint",
        type=Path,
        metavar="FILE",
        help="teacher to score on the same images; a run stores its own as teacher/teacher.pt",
    )
    parser.add_argument(
        "--dataset_dir",
        "--dataset-dir",
        type=Path,
        metavar="FOLDER",
        help="the bundle's data (default: phantoms, made in the output folder)",
    )
    parser.add_argument(
        "--section",
        choices=("validation", "test"),
        default="validation",
        help="section of the data (default: validation)",
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="also score the test set; do this once, as the last step. With --section test, score only the test set",
    )
    parser.add_argument(
        "--corruptions",
        nargs="+",
        default=[],
        metavar="NAME",
        help="kinds such as noise, or single severities such as noise-2 (default: all, at three severities)",
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="use at most this many images of a section, spread over its patients"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings for all evaluations, such as threshold=0.3 tta=true; checked before the first one",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the evaluations and which are done")
    parser.add_argument("--table-only", action="store_true", help="only write table and plot from the existing records")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Score what is missing, then write table, picture and records.

    Returns:
        0.
    """
    from ckdmed.experiments.given_settings import parse_settings
    from ckdmed.robustness import (
        RobustnessEvaluation,
        RobustnessOptions,
        check_robustness_records,
        networks_of,
        points_of,
    )

    output_dir = args.output_dir.expanduser().absolute()
    if not (output_dir / "records").is_dir():
        for name in (_TABLE, _PICTURE, _RECORDS):
            # of somebody else
            refuse_existing(output_dir / name, force=False)
    elif any((output_dir / "records").glob("*/*.json")):
        # nothing is put among the records of an experiment
        check_robustness_records(_records(output_dir))
    if not args.table_only:
        points = points_of(args.corruptions)
        data = args.dataset_dir and args.dataset_dir.expanduser().absolute()
        if data is not None and not data.exists():
            raise FileNotFoundError(f"{data}: there is no such data.")
        settings = parse_settings(args.set)
        options = RobustnessOptions(data, args.section, args.final, args.images, settings)
        networks = networks_of(args.source, args.checkpoint, args.teacher_checkpoint, data)
        evaluation = RobustnessEvaluation(networks, points, output_dir, options)
        if args.dry_run:
            print("\n".join(evaluation.listed()))
            return 0
        for note in evaluation.check():
            print(f"note: {note}")
        evaluation.do(progress=not args.quiet)
    _write(_records(output_dir), output_dir)
    return 0


def _records(output_dir: Path) -> list[RunRecord]:
    from ckdmed.experiments.records import read_experiment

    return read_experiment(output_dir / "records")


def _write(records: list[RunRecord], output_dir: Path) -> None:
    from ckdmed.experiments.records import collect_records
    from ckdmed.files import write_atomic
    from ckdmed.robustness import plot_robustness, robustness_tables

    text = robustness_tables(records)
    write_atomic(output_dir / _TABLE, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    picture = plot_robustness(records, output_dir / _PICTURE)
    collect_records(records, output_dir / _RECORDS)
    print(text)
    print(f"written: {output_dir / _TABLE}, {_RECORDS}" + (f", {_PICTURE}" if picture else ""))
