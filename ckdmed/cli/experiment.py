"""`ckdmed experiment NAME`: the comparisons of the documentation, each a declaration of `ckdmed.experiments`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckdmed.cli.help_text import add_examples
from ckdmed.cli.overwriting import add_force, add_output_dir, refuse_existing
from ckdmed.experiments import EXPERIMENTS, experiment

if TYPE_CHECKING:
    from ckdmed.experiments.engine import Experiment

NAME = "experiment"
HELP = f"run an experiment ({', '.join(EXPERIMENTS)}) and write its tables and plot; finished runs are not repeated"
EXAMPLES = (
    "ckdmed experiment compare --output_dir compare --dataset_dir path/to/figshare",
    "ckdmed experiment ablation --profile tiny --seeds 0 --set epochs=2",
    "ckdmed experiment unimodal --dry-run",
    "ckdmed experiment table1 --table-only",
    "ckdmed experiment methods --task classification --dataset_dir path/to/figshare --set scaling=zscore",
    "ckdmed experiment methods --arms kd cwd fuse_stn --teacher_checkpoint teacher/models/model.pt",
    "ckdmed experiment sweep --bundle seg_kd --method kd --over temperature=1,2,4,8 --over w_logit=0.3,1,3",
    "ckdmed experiment sweep --bundle brats_seg_kd --method kd --over temperature=1,2,4 --set spatial_dims=3",
    "ckdmed experiment sizes --dataset_dir path/to/figshare --widths 4 8 16 32",
)
# what tables are written by, if no run is asked for
_OF_TABLES = ("output_dir", "table_only", "table", "collect", "force", "debug")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command; those of the experiment are read when it is known."""
    width = max(map(len, EXPERIMENTS))
    parser.epilog = "experiments (`ckdmed experiment NAME --help` lists the options of one):\n" + "\n".join(
        f"  {name:{width}}  {purpose}" for name, purpose in EXPERIMENTS.items()
    )
    parser.add_argument("name", choices=tuple(EXPERIMENTS), metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="options of the experiment")


def run(args: argparse.Namespace) -> int:
    """Run what is missing of the experiment, then write its tables and picture.

    Returns:
        0.
    """
    chosen = experiment(args.name)
    options = experiment_parser(chosen).parse_args(args.options)
    # given behind the experiment's name it means the same
    args.debug = getattr(args, "debug", False) or options.debug
    return _run(chosen, options)


def experiment_parser(chosen: type[Experiment]) -> argparse.ArgumentParser:
    """The parser of an experiment's options: those that all have, and its own."""
    from ckdmed.experiments.given_settings import PROFILES

    name = chosen.name
    parser = argparse.ArgumentParser(prog=f"ckdmed experiment {name}", description=EXPERIMENTS[name])
    add_output_dir(
        parser,
        f"folder for runs, records, tables and plot; finished runs are kept (default: {name})",
        default=Path(name),
    )
    parser.add_argument("--dataset_dir", "--dataset-dir", type=Path, help=f"{chosen.data} (default: phantoms)")
    parser.add_argument(
        "--profile",
        "--preset",
        # what table1 called the bundle's own sizes
        type=lambda profile: "full" if profile == "paper" else profile,
        choices=PROFILES,
        default="compact",
        help="size profile (default: compact)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the runs (default: 0 1 2)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="bundle settings for all runs, such as epochs=10; checked before the first training",
    )
    parser.add_argument("--bundles", type=Path, help="folder of the bundles (default: that of this checkout)")
    chosen.add_options(parser)
    parser.add_argument(
        "--executor",
        choices=("slurm", "local"),
        help="run each training as its own job: on a Slurm cluster, or in local processes (extra cluster); by default "
        "the trainings run one after the other in this process",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="most jobs at a time (default: no limit; local: 1)")
    parser.add_argument(
        "--executor_set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="for submitit's executor, such as timeout_min=600 (default: a day) slurm_partition=gpu gpus_per_node=1",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the runs and which are done, leaving out arms that do not fit; nothing is written",
    )
    if chosen.looks_at_test:
        parser.add_argument(
            "--final",
            action="store_true",
            help="evaluate the finished runs on the test set; do this once, as the last step",
        )
    parser.add_argument(
        "--table-only", action="store_true", help="only write tables and plot from the existing records"
    )
    parser.add_argument(
        "--table", type=Path, help=f"file for the tables, with the plot beside it (default: OUTPUT_DIR/{name}.md)"
    )
    parser.add_argument(
        "--collect",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE",
        help=f"also write all records to one JSON Lines file (default: OUTPUT_DIR/{name}.jsonl)",
    )
    add_force(parser, "a file of --table or --collect")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_examples(parser, EXAMPLES, {})
    return parser


def _run(chosen: type[Experiment], args: argparse.Namespace) -> int:
    from ckdmed.data.datalist import DATALIST_NAME
    from ckdmed.data.sections import stored_datalist
    from ckdmed.experiments.cluster import do_as_jobs
    from ckdmed.experiments.idle_settings import tell_of_idle
    from ckdmed.experiments.plan import of_own_networks
    from ckdmed.experiments.records import collect_records, listed_runs, read_experiment

    _check_combined(args)
    _tell_of_passed_over(chosen, args)
    output_dir = args.output_dir.resolve()
    table = _place(args.table, output_dir / f"{chosen.name}.md", args.force)
    collected = None
    if args.collect is not None:
        given = args.collect if args.collect.name else None
        collected = _place(given, output_dir / f"{chosen.name}.jsonl", args.force)
        if collected.resolve() in (table.resolve(), table.with_suffix(".png").resolve()):
            raise ValueError(f"--collect {collected}: the tables or their picture go there; name another file.")
    if not args.table_only:
        runs = chosen.plan(args)
        settings = chosen.given_settings(args)
        phantoms = args.dataset_dir is None
        data = (output_dir / "phantoms" if phantoms else args.dataset_dir).resolve()
        if not data.exists() and not phantoms:
            raise ValueError(f"--dataset_dir: there is no file or folder '{data}'.")
        if args.dry_run and not phantoms and not stored_datalist(data).is_file():
            print(f"{data} has no {DATALIST_NAME} yet: whether the arms fit is not checked", file=sys.stderr)
            print("\n".join(listed_runs(output_dir, runs)))
            return 0
        made = chosen.from_options(args, output_dir, data, settings)
        # an arm that cannot be is named before anything is drawn
        runs = made.possible(runs)
        trained = [run for run in of_own_networks(runs) if run.arm.name not in made.untrained]
        tell_of_idle([(run, made.settings_of(run)) for run in trained], made.given, args.bundles)
        if args.dry_run:
            print("\n".join(listed_runs(output_dir, runs)))
            return 0
        executor = _executor(args, output_dir)
        if phantoms:
            chosen.phantoms(data, args)
        if made.undrawn:
            made = chosen.from_options(args, output_dir, data, settings)
            runs = made.possible(runs)
        final = getattr(args, "final", False)
        if executor is None:
            made.do(runs, final)
        else:
            most = 1 if args.jobs is None and args.executor == "local" else args.jobs
            do_as_jobs(made, runs, executor, final, most)
    records = read_experiment(output_dir / "records")
    print(chosen.write(records, table))
    if collected is not None:
        print(f"records: {collect_records(records, collected)}")
    return 0


def _check_combined(args: argparse.Namespace) -> None:
    """Raise ValueError where an option would be passed over, or a file replaced by another one of the same command."""
    idle = {"--dry-run": args.dry_run, "--final": getattr(args, "final", False), "--executor": args.executor}
    if args.table_only and (given := [name for name, value in idle.items() if value]):
        raise ValueError(f"--table-only trains and evaluates nothing; leave out {', '.join(given)}, or --table-only.")
    if args.table is not None and args.table.suffix.lower() == ".png":
        raise ValueError(f"{args.table}: a picture is written beside the tables under this name; name them otherwise.")
    if args.table_only:
        return
    if args.executor is None and (args.jobs is not None or args.executor_set):
        raise ValueError("--jobs and --executor_set are for --executor slurm or local.")
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {args.jobs}.")


def _tell_of_passed_over(chosen: type[Experiment], args: argparse.Namespace) -> None:
    """Say that ``--table-only`` shows all records whatever runs the options choose, which may be those of the command
    that made them."""
    if not args.table_only:
        return
    usual, told = experiment_parser(chosen), []
    for name, value in vars(args).items():
        if name not in _OF_TABLES and value != usual.get_default(name):
            told.append(f"--{name}")
    if told:
        print(f"--table-only shows all records of {args.output_dir}; no effect: {', '.join(told)}", file=sys.stderr)


def _executor(args: argparse.Namespace, output_dir: Path) -> Any:
    """The executor of the options, None where runs are done here.

    Raises:
        ValueError: options of jobs that it does not know.
    """
    from ckdmed.experiments.cluster import JOBS, submitit_executor
    from ckdmed.experiments.given_settings import parse_settings

    if args.executor is None:
        return None
    return submitit_executor(args.executor, output_dir / JOBS, parse_settings(args.executor_set, "executor's settings"))


def _place(given: Path | None, own: Path, force: bool) -> Path:
    """Where a file goes: where the user says, or the command's own place, where an earlier one of its own may be.

    Raises:
        FileExistsError: see `refuse_existing`.
    """
    if given is None:
        return own
    # a picture stands beside tables under the same name
    for path in (given, *([given.with_suffix(".png")] if own.suffix == ".md" else [])):
        refuse_existing(path, force)
    return given
