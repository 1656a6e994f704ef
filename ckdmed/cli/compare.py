"""`ckdmed compare`: does distillation help, and by how much?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

NAME = "compare"
HELP = "train and evaluate the arms of a comparison over seeds and label regimes, and write its table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "--output_dir", type=Path, required=True, help="runs, records and table; finished runs are kept"
    )
    parser.add_argument(
        "--dataset_dir", type=Path, help="Figshare .mat files with a datalist.json; phantoms by default"
    )
    parser.add_argument(
        "--preset", choices=("compact", "full", "tiny"), default="compact", help="sizes (default: compact)"
    )
    parser.add_argument("--arms", nargs="+", help="by default all: teacher, alone, alone_longer, report_kd ...")
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME KEY=VALUE",
        help="one more arm: 'ours' with other settings, such as --variant warm temperature=4 w_att=0; repeatable",
    )
    parser.add_argument(
        "--regimes", nargs="+", type=float, default=[1.0, 0.25, 0.1], help="shares of labelled patients"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--split_seed", type=int, default=0, help="of the choice of labelled patients (default: 0)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the bundle for all runs, such as epochs=10",
    )
    parser.add_argument("--phantom_patients", type=int, default=60, help="without dataset_dir (default: 60)")
    parser.add_argument("--phantom_size", type=int, default=128, help="edge of the phantoms' slices (default: 128)")
    parser.add_argument(
        "--final", action="store_true", help="evaluate the finished runs on the test section: once, last"
    )
    parser.add_argument("--table-only", action="store_true", help="write the table from the records that are there")
    parser.add_argument("--table", type=Path, help="the file (default: OUTPUT_DIR/comparison.md)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and which of them are done")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the table.

    Returns:
        0.
    """
    from ckdmed.bundle.compare import Comparison, own_settings, phantom_data
    from ckdmed.bundle.compare_arms import ARMS, planned_runs, variant
    from ckdmed.bundle.compare_table import write_tables
    from ckdmed.bundle.sizes import preset_settings

    output_dir = args.output_dir.resolve()
    table = args.table or output_dir / "comparison.md"
    if args.table_only:
        print(write_tables(output_dir / "records", table))
        return 0
    variants = [variant(words[0], _settings(words[1:], own_settings())) for words in args.variant]
    unknown = [name for name in args.arms or [] if name not in ARMS]
    if unknown:
        raise ValueError(f"there are no arms {unknown}; there are {', '.join(ARMS)}.")
    arms = [ARMS[name] for name in args.arms or ARMS] + variants
    runs = planned_runs(arms, args.regimes, args.seeds)
    if args.dataset_dir is None:
        data = phantom_data(output_dir / "phantoms", args.phantom_patients, args.phantom_size)
    else:
        data = args.dataset_dir.resolve()
    chosen = {**preset_settings(args.preset), "split_seed": args.split_seed, **_settings(args.set, own_settings())}
    comparison = Comparison(output_dir, data, chosen)
    if args.dry_run:
        for entry in runs:
            print(f"{'done' if comparison.record_path(entry, 'validation').is_file() else '    '}  {entry.name}")
        return 0
    for number, entry in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {entry.name}", flush=True)
        comparison.train(entry)
    if args.final:
        for entry in runs:
            comparison.test(entry)
    print(write_tables(output_dir / "records", table))
    return 0


def _settings(words: list[str], known: set[str]) -> dict[str, Any]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise ValueError(f"'{word}' is no KEY=VALUE of the bundle's settings: {', '.join(sorted(known))}.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
