"""`ckdmed table1`: the reports' table of teachers and students, with the student alone beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckdmed.cli.overwriting import add_force, add_output_dir
from ckdmed.cli.run_arguments import chosen_table, parse_settings

NAME = "table1"
HELP = "train the reports' four teachers, four students and the student alone, and write their table (resumable)"

_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_TEST = ("val_accuracy", "test_accuracy", "test_balanced_accuracy", "test_patient_accuracy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--preset", choices=("compact", "paper"), default="compact", help="sizes (default: compact)")
    parser.add_argument("--dataset_dir", "--dataset-dir", help="folder of Figshare .mat slices (default: phantoms)")
    add_output_dir(parser, "records, runs, table (default: table1)", default=Path("table1"))
    parser.add_argument(
        "--folds",
        choices=("group", "official", "slices"),
        default="group",
        help="how the folds are made: persons kept together, the published ones, or single slices, which flatters and "
        "is there for comparison (default: group)",
    )
    parser.add_argument("--fold", type=int, nargs="+", default=[0], metavar="N", help="which of the five (default: 0)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="only these, with their teachers (default: all)")
    parser.add_argument(
        "--bundles", type=Path, help="folder of the bundles (default: bundles, else those of the package)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of bundles/cls_kd, for example epochs=30; may be repeated",
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="of the table (default: OUTPUT_DIR/table1.md)")
    add_force(parser, "a file of --table")
    parser.add_argument(
        "--table-only", action="store_true", help="write the table from the records that are there; nothing is trained"
    )


def run(args: argparse.Namespace) -> int:
    """Do the runs that are missing, then write and print the table."""
    import logging.config

    from ckdmed.bundle_files import bundle_folder
    from ckdmed.experiments.table1 import STUDENTS, TEACHERS, Table1Settings, run_table1
    from ckdmed.files import write_atomic
    from ckdmed.reports import read_records

    path = chosen_table(args, args.output_dir / "table1.md")
    if args.table_only:
        text = table_text(read_records([args.output_dir / "records"]))
        write_atomic(path, lambda file: file.write_text(text, encoding="utf-8"))
        print(text)
        return 0
    settings = Table1Settings(
        output_dir=args.output_dir,
        dataset_dir=args.dataset_dir,
        bundles=args.bundles,
        preset=args.preset,
        fold_source=args.folds,
        folds=args.fold,
        seeds=args.seeds,
        arms=args.arms or (*TEACHERS, *STUDENTS),
        settings=parse_settings(args.set),
    )
    logging.config.fileConfig(bundle_folder("cls_kd", args.bundles) / "logging.conf", disable_existing_loggers=False)
    text = table_text(run_table1(settings))
    write_atomic(path, lambda file: file.write_text(text, encoding="utf-8"))
    print(text)
    print(f"table: {path}")
    return 0


_SPLITS = {
    "group": "Folds by person (all slices of a person on one side)",
    "official": "Official folds (by patient code as published)",
    "slices": "Folds by single slices, which put slices of one person on both sides",
}


def table_text(records: Sequence[Any]) -> str:
    """The table in Markdown: the reports' columns, then what they lack; one part for each way of making the folds.

    Args:
        records: run records of `ckdmed.experiments.table1`, all of one size.

    Raises:
        ValueError: records of several presets.
    """
    presets = sorted({str(record.settings.get("preset")) for record in records})
    if len(presets) > 1:
        raise ValueError(f"the records are of several sizes ({', '.join(presets)}); make a table of one at a time.")
    names = [name for name in _SPLITS if any(record.split["name"] == name for record in records)]
    parts = [
        f"Sizes: {presets[0]}. {records[0].machine}. Mean and standard deviation over runs (seeds and folds); a run's "
        "numbers are those of the weights that validated best. Losses are cross entropies without distillation terms, "
        "training slices are without augmentation. Validation chose the weights, so the test columns are the ones to "
        "believe.\n"
    ]
    for name in names:
        own = [record for record in records if record.split["name"] == name]
        folds = ", ".join(str(fold) for fold in sorted({record.split["fold"] for record in own}))
        parts.append(f"### {_SPLITS[name]}: fold {folds}\n")
        parts += _tables(own)
    seconds = sum(record.seconds or 0 for record in records)
    parts.append(f"{len(records)} runs, {seconds / 60:.0f} minutes in all.\n")
    return "\n".join(parts)


def _tables(records: Sequence[Any]) -> list[str]:
    from ckdmed.experiments.table1 import STUDENTS, TEACHERS
    from ckdmed.reports import arm_table

    present = {record.arm for record in records}
    arms = {arm: label for arm, label in {**TEACHERS, **STUDENTS}.items() if arm in present}
    students = {arm: label for arm, label in STUDENTS.items() if arm in present}
    parts = [arm_table(records, _METRICS, arms=arms), arm_table(records, _TEST, arms=arms)]
    if "student_alone" in students and len(students) > 1:
        parts.append("Against the student alone, paired by seed and fold:\n")
        parts.append(arm_table(records, ("val_accuracy", "test_accuracy"), baseline="student_alone", arms=students))
    return parts
