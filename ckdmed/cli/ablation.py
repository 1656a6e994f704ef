"""`ckdmed ablation`: which choices of COHRA-UNet matter, and by how much?"""

from __future__ import annotations

import argparse

from ckdmed.cli.run_arguments import add_run_arguments, chosen_table, parse_settings

NAME = "ablation"
HELP = "train and evaluate COHRA-UNet with one choice changed at a time, over seeds, and write the table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_run_arguments(parser, "BraTS cases", "ablation.md")
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("FACTOR", "VALUE"),
        help="a factor (act, norm, upsample, loss, attention) and the values to try, all by default; repeatable. "
        "Without it every factor is varied",
    )
    parser.add_argument(
        "--base", nargs="+", default=[], metavar="FACTOR=VALUE", help="what the base configuration has instead"
    )
    parser.add_argument(
        "--grid", action="store_true", help="every combination of the values, instead of one change at a time"
    )
    parser.add_argument("--phantom_cases", type=int, default=30, help="without dataset_dir (default: 30)")
    parser.add_argument(
        "--phantom_shape",
        type=int,
        nargs=3,
        default=[64, 64, 40],
        metavar=("X", "Y", "Z"),
        help="voxels of a phantom (default: 64 64 40)",
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then write the table.

    Returns:
        0.
    """
    from ckdmed.bundle.setting_check import check_given
    from ckdmed.bundle.workflow import bundle_settings
    from ckdmed.experiments.ablation import Ablation, ablation_phantoms, ablation_sizes, write_ablation_tables
    from ckdmed.experiments.ablation_arms import ABLATION_BUNDLE, FACTORS, ablation_arms, ablation_runs
    from ckdmed.experiments.recorded_runs import listed_runs, own_settings

    output_dir = args.output_dir.resolve()
    table = chosen_table(args, output_dir / "ablation.md")
    if args.table_only:
        print(write_ablation_tables(output_dir / "records", table))
        return 0
    twice = {words[0] for words in args.vary if sum(other[0] == words[0] for other in args.vary) > 1}
    if twice:
        raise ValueError(f"--vary names {', '.join(sorted(twice))} twice; give all values of a factor at once.")
    varied = {words[0]: words[1:] for words in args.vary} or None
    base = {name: str(value) for name, value in parse_settings(args.base, set(FACTORS), "factors").items()}
    arms = ablation_arms(varied, base, args.grid)
    runs = ablation_runs(arms, args.seeds)
    chosen = {**ablation_sizes(args.preset), **parse_settings(args.set, own_settings(ABLATION_BUNDLE))}
    check_given(bundle_settings(ABLATION_BUNDLE), chosen)
    if args.dry_run:
        print("\n".join(listed_runs(output_dir, runs)))
        return 0
    if args.dataset_dir is None:
        data = ablation_phantoms(output_dir / "phantoms", args.phantom_cases, args.phantom_shape)
    else:
        data = args.dataset_dir.resolve()
    ablation = Ablation(output_dir, data, chosen)
    ablation.do(runs, args.final)
    print(write_ablation_tables(output_dir / "records", table))
    return 0
