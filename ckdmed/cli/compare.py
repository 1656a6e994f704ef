"""`ckdmed compare`: does distillation help, and by how much?"""

from __future__ import annotations

import argparse

from ckdmed.cli.run_arguments import add_run_arguments, chosen_table, parse_settings

NAME = "compare"
HELP = "train and evaluate the arms of a comparison over seeds and label regimes, and write its table and picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_run_arguments(parser, "Figshare .mat files", "comparison.md")
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
    parser.add_argument("--split_seed", type=int, default=0, help="of the choice of labelled patients (default: 0)")
    parser.add_argument("--phantom_patients", type=int, default=60, help="without dataset_dir (default: 60)")
    parser.add_argument("--phantom_size", type=int, default=128, help="edge of the phantoms' slices (default: 128)")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the table.

    Returns:
        0.
    """
    from ckdmed.bundle.setting_check import check_given
    from ckdmed.bundle.workflow import bundle_settings
    from ckdmed.experiments.compare import Comparison, phantom_data
    from ckdmed.experiments.compare_arms import ARMS, planned_runs, variant
    from ckdmed.experiments.compare_table import write_comparison
    from ckdmed.experiments.recorded_runs import listed_runs, own_settings
    from ckdmed.experiments.sizes import preset_settings

    output_dir = args.output_dir.resolve()
    table = chosen_table(args, output_dir / "comparison.md", picture=True)
    if args.table_only:
        print(write_comparison(output_dir / "records", table))
        return 0
    variants = [variant(words[0], parse_settings(words[1:], own_settings())) for words in args.variant]
    unknown = [name for name in args.arms or [] if name not in ARMS]
    if unknown:
        raise ValueError(f"there are no arms {unknown}; there are {', '.join(ARMS)}.")
    arms = [ARMS[name] for name in args.arms or ARMS] + variants
    runs = planned_runs(arms, args.regimes, args.seeds)
    chosen = {**preset_settings(args.preset), "split_seed": args.split_seed, **parse_settings(args.set, own_settings())}
    check_given(bundle_settings("seg_kd"), chosen)
    if args.dry_run:
        print("\n".join(listed_runs(output_dir, runs)))
        return 0
    if args.dataset_dir is None:
        data = phantom_data(output_dir / "phantoms", args.phantom_patients, args.phantom_size)
    else:
        data = args.dataset_dir.resolve()
    comparison = Comparison(output_dir, data, chosen)
    comparison.do(runs, args.final)
    print(write_comparison(output_dir / "records", table))
    return 0
