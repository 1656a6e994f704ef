"""`ckdmed report`: pages about runs, inferences and comparisons, to read and to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ckdmed.cli.overwriting import add_force, add_output_dir

if TYPE_CHECKING:
    from ckdmed.reports import RunRecord
    from ckdmed.run_pages import ComparedArms

NAME = "report"
HELP = (
    "write reports on trainings, inferences and comparisons, as self-contained HTML and Markdown. They contain "
    "pictures of the patients' images, and paths as the runs recorded them"
)
EXAMPLES = (
    "ckdmed report output",
    "ckdmed report seed0 seed1 seed2 --output_dir all",
    "ckdmed report output/inference --niivue package --output_dir volumes",
    "ckdmed report comparison",
)

_FOLDER = "report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="output folder of a training, evaluation, inference, deployment or experiment, or a file of records",
    )
    add_output_dir(
        parser,
        f"folder of the report (default: {_FOLDER} in the run's folder; for several runs, in the working directory)",
        default=Path(),
    )
    parser.add_argument("--title", default="", help="title of the first page (default: the names of the runs)")
    parser.add_argument(
        "--cases",
        type=int,
        default=200,
        metavar="N",
        help="most cases of an inference that get their own page (default: 200)",
    )
    parser.add_argument(
        "--niivue",
        type=Path,
        metavar="FOLDER",
        help="also show volumes in NiiVue: the unpacked npm package @niivue/niivue (BSD-2-Clause, 2.3 MB per page)",
    )
    add_force(parser, "an earlier report")


def run(args: argparse.Namespace) -> int:
    """Write the pages and say where the first one is.

    Returns:
        0.
    """
    from ckdmed.run_pages import MARKDOWN, is_report, read_niivue, read_sources, write_report

    if args.cases < 0:
        raise ValueError(f"--cases must be at least 0, got {args.cases}.")
    given: list[Path] = [path.expanduser() for path in args.runs]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such run.")
    place = args.output_dir
    if not place.name:
        place = given[0] / _FOLDER if len(given) == 1 and given[0].is_dir() else Path(_FOLDER)
    place = place.expanduser().absolute()
    if place.exists() and is_report(place) and not args.force:
        raise FileExistsError(f"{place} is already a report; give another --output_dir, or replace it with --force.")
    records = [path for path in given if _holds_records(path)]
    comparisons = {
        path.stem if path.is_file() else path.name: _comparison(path) for path in map(Path.absolute, records)
    }
    if len(comparisons) < len(records):
        raise ValueError("two of the comparisons have the same name; report them one at a time.")
    sources = read_sources([path for path in given if path not in records], comparisons)
    niivue = None if args.niivue is None else read_niivue(args.niivue.expanduser())
    first = write_report(sources, place, args.title, args.cases, niivue)
    print(f"report: {first}")
    print(f"the same as Markdown: {first.with_name(MARKDOWN)}")
    return 0


def _holds_records(path: Path) -> bool:
    """Whether a path is a file of records, or a folder of them or of an experiment."""
    from ckdmed.data.input_walk import is_run_folder
    from ckdmed.reports.run_record import record_files

    if path.is_file() or _is_of_an_experiment(path):
        return True
    # evaluations, runs and deployments hold JSON of other kinds, records of the training among it
    others = any((path / name).is_file() for name in ("summary.json", "deploy.json"))
    own = {file.name for file in record_files(path)} - {"report.json"}
    return bool(own) and not is_run_folder(path) and not others


def _is_of_an_experiment(path: Path) -> bool:
    from ckdmed.experiments.records import SECTIONS

    return (path / "records").is_dir() or any((path / section).is_dir() for section in SECTIONS)


def _comparison(path: Path) -> list[ComparedArms]:
    """The groups of an experiment's records; of records that are of no experiment here, one for each section."""
    from ckdmed.cli.robustness import NAME as ROBUSTNESS
    from ckdmed.experiments import EXPERIMENTS, experiment
    from ckdmed.experiments.records import read_experiment
    from ckdmed.run_pages import ComparedArms

    if (path / "model.json").is_file() and not _is_of_an_experiment(path):
        raise ValueError(_only_weights(path))
    try:
        records = read_experiment(path / "records" if (path / "records").is_dir() else path)
    except ValueError as error:
        if path.is_file() or _is_of_an_experiment(path):
            raise
        raise ValueError(
            f"{path} is not an output folder of a training, an evaluation, an inference, a deployment or an "
            f"experiment; give one. Nor is it a folder of records only: {error}"
        ) from error
    # the command's own name comes before its arguments, which may be folders with the name of another
    commands = {*EXPERIMENTS, ROBUSTNESS}
    name = next((word for record in records for word in record.command if word in commands), None)
    if name is None or name == ROBUSTNESS:
        return _by_section(records)
    declared = experiment(name)
    declared.check_records(records)
    return [
        ComparedArms(group.title, group.records, group.names, group.baseline, group.patient_metric, declared.holm)
        for group in declared.groups(records)
    ]


def _only_weights(folder: Path) -> str:
    """What to do for a report on a folder of weights with their record, such as `ckdmed prune` writes."""
    if (folder.absolute().parent / "settings.json").is_file():
        return f"{folder}: holds the weights of a run and nothing to report on: give the run's folder, {folder.parent}."
    return (
        f"{folder}: holds a network with its record (model.json), as ckdmed prune writes it, and no run to report on. "
        f"Evaluate it first (ckdmed run BUNDLE evaluate --checkpoint {folder / 'model.pt'} --dataset_dir ... "
        "--output_dir FOLDER, with the bundle of its training), and report that folder."
    )


def _by_section(records: list[RunRecord]) -> list[ComparedArms]:
    from ckdmed.run_pages import ComparedArms

    sections = dict.fromkeys(str(record.split.get("section") or "") for record in records)
    own = {name: [record for record in records if str(record.split.get("section") or "") == name] for name in sections}
    return [
        ComparedArms(
            f"{name.capitalize()} set" if name else "Runs", group, {record.arm: record.arm for record in group}
        )
        for name, group in own.items()
    ]
