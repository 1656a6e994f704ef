"""`ckdmed unimodal`: what do teachers of more or other sequences give to a student of one?"""

from __future__ import annotations

import argparse

from ckdmed.cli.run_arguments import add_run_arguments, chosen_table, parse_settings

NAME = "unimodal"
HELP = "train students of one MR sequence alone and with teachers of several, over seeds, and write the table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_run_arguments(parser, "BraTS cases", "unimodal.md")
    parser.add_argument(
        "--students",
        nargs="+",
        default=["t1n", "t1c"],
        metavar="MODALITY",
        help="what each student sees, such as t1c, or t1n+t1c for two sequences (default: t1n t1c)",
    )
    parser.add_argument(
        "--strategies",
        nargs="+",
        default=["alone", "distilled"],
        help="of alone, distilled, online, published (default: alone distilled)",
    )
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="one more strategy: 'distilled' with other settings, such as --variant one "
        '\'teachers=[["t1n","t1c","t2w","t2f"]]\'; repeatable',
    )
    parser.add_argument(
        "--regimes", nargs="+", type=float, default=[0.1], help="shares of labelled patients (default: 0.1)"
    )
    parser.add_argument("--split_seed", type=int, default=0, help="of the choice of labelled patients (default: 0)")
    parser.add_argument(
        "--teacher_seed", type=int, help="of the frozen teachers, one set for all seeds (default: the run's own seed)"
    )
    parser.add_argument("--phantom_cases", type=int, default=72, help="without dataset_dir (default: 72)")
    parser.add_argument(
        "--phantom_shape",
        type=int,
        nargs=3,
        default=[48, 48, 24],
        metavar=("X", "Y", "Z"),
        help="voxels of a phantom (default: 48 48 24)",
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the table.

    Returns:
        0.
    """
    from ckdmed.bundle.setting_check import check_given
    from ckdmed.bundle.workflow import bundle_settings
    from ckdmed.experiments.recorded_runs import listed_runs, own_settings
    from ckdmed.experiments.unimodal import UnimodalComparison, unimodal_phantoms, unimodal_sizes, write_unimodal_tables
    from ckdmed.experiments.unimodal_arms import STRATEGIES, UNIMODAL_BUNDLE, strategy, unimodal_runs

    output_dir = args.output_dir.resolve()
    table = chosen_table(args, output_dir / "unimodal.md")
    if args.table_only:
        print(write_unimodal_tables(output_dir / "records", table))
        return 0
    known = own_settings(UNIMODAL_BUNDLE)
    if unknown := [name for name in args.strategies if name not in STRATEGIES]:
        raise ValueError(f"there are no strategies {unknown}; there are {', '.join(STRATEGIES)}.")
    chosen = [STRATEGIES[name] for name in args.strategies]
    chosen += [strategy(words[0], parse_settings(words[1:], known)) for words in args.variant]
    runs = unimodal_runs(chosen, [student.split("+") for student in args.students], args.regimes, args.seeds)
    settings = {
        **unimodal_sizes(args.preset),
        "split_seed": args.split_seed,
        **parse_settings(args.set, known),
    }
    check_given(bundle_settings(UNIMODAL_BUNDLE), settings)
    if args.dry_run:
        print("\n".join(listed_runs(output_dir, runs)))
        return 0
    if args.dataset_dir is None:
        data = unimodal_phantoms(output_dir / "phantoms", args.phantom_cases, args.phantom_shape)
    else:
        data = args.dataset_dir.resolve()
    comparison = UnimodalComparison(output_dir, data, settings, teacher_seed=args.teacher_seed)
    comparison.do(runs, args.final)
    print(write_unimodal_tables(output_dir / "records", table))
    return 0
