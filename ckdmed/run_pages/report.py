"""A report of runs, inferences and comparisons: a folder with HTML pages and their Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckdmed.counted import counted
from ckdmed.files import write_atomic
from ckdmed.folders import files_below, replaced_folder
from ckdmed.json_files import JsonFileError, read_json
from ckdmed.paths import output_path

from .blocks import Page, Section
from .comparison_part import ComparedArms, comparison_sections
from .evaluation_part import evaluation_sections
from .html import html_of
from .inference_part import case_pages, inference_sections
from .inference_run import InferenceRun, read_inference_run
from .markdown import PICTURES, markdown_of
from .niivue import NiiVue
from .resource_part import RECORD, resource_blocks
from .several_runs import several_runs_section
from .training_part import training_sections
from .training_run import Evaluation, TrainingRun, read_evaluation, read_training_run

__all__ = ["INDEX", "MARKDOWN", "Sources", "is_report", "read_sources", "write_report"]

INDEX, MARKDOWN = "index.html", "report.md"
_LIST = "files.json"
_FORMAT = "ckdmed report 1"


@dataclass
class Sources:
    """What a report is of; each mapping is from a name that tells it from the others.

    Attributes:
        trainings: output folders of trainings.
        evaluations: evaluations that were given by themselves.
        inferences: output folders of inferences.
        deployments: folders of ckdmed deploy.
        comparisons: groups of arms, with their records.
    """

    trainings: dict[str, TrainingRun] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    inferences: dict[str, InferenceRun] = field(default_factory=dict)
    deployments: dict[str, Path] = field(default_factory=dict)
    comparisons: dict[str, list[ComparedArms]] = field(default_factory=dict)


def read_sources(folders: Sequence[Path], comparisons: Mapping[str, list[ComparedArms]] | None = None) -> Sources:
    """Read the runs in folders.

    Args:
        folders: each the output folder of a training, an evaluation, an inference or a deployment.
        comparisons: read already.

    Raises:
        ValueError: a folder holds none of these, with what was looked for, or an inference that was broken off; a
            record is damaged.
    """
    sources = Sources(comparisons=dict(comparisons or {}))
    for name, folder in _named(folders).items():
        if (folder / "report.json").is_file() and (folder / "results.jsonl").is_file():
            sources.inferences[name] = read_inference_run(folder)
        elif (folder / RECORD).is_file() and not (folder / "settings.json").is_file():
            sources.deployments[name] = folder
        elif (folder / "summary.json").is_file():
            sources.evaluations[name] = read_evaluation(folder)
        elif (folder / "settings.json").is_file():
            if (folder / "results.jsonl").is_file():
                raise ValueError(
                    f"{folder}: an unfinished inference: it has results.jsonl, but no report.json yet. Run its "
                    "command again (with --resume true for `ckdmed run`), and report then."
                )
            sources.trainings[name] = read_training_run(folder)
        else:
            raise ValueError(
                f"{folder}: holds no run: no settings.json of a training, summary.json of an evaluation, report.json "
                "of an inference, deploy.json, or records of an experiment. Give the output folder of one."
            )
    return sources


def write_report(
    sources: Sources, folder: Path, title: str = "", most_cases: int = 200, niivue: NiiVue | None = None
) -> Path:
    """Write the pages of a report, all or none.

    Args:
        sources: at least one run.
        folder: the report's own; an earlier report there is replaced, nothing else is.
        title: of the first page; by default the names of the runs.
        most_cases: how many cases of an inference get a page.
        niivue: for volumes, or None.

    Returns:
        The first page.

    Raises:
        ValueError: there are no sources; the folder holds what no report wrote; a record or a checkpoint is damaged.
    """
    names = [
        *sources.comparisons,
        *sources.trainings,
        *sources.deployments,
        *sources.evaluations,
        *sources.inferences,
    ]
    if not names:
        raise ValueError("a report needs at least one run.")
    heading = title or ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    with replaced_folder(folder.parent, folder.name, _foreign) as place:
        sections: list[Section] = []
        for number, (name, groups) in enumerate(sources.comparisons.items(), 1):
            sections += _under(name, comparison_sections(groups, f"comparison-{number}"), len(names) > 1)
        if len(sources.trainings) > 1:
            sections.append(several_runs_section(sources.trainings))
        for number, (name, run) in enumerate(sources.trainings.items(), 1):
            sections += _under(name, training_sections(run, f"run-{number}"), len(names) > 1)
        for name, deployed in sources.deployments.items():
            sections += _under(name, [Section("Deployed files", resource_blocks(deployed))], len(names) > 1)
        for number, (name, evaluation) in enumerate(sources.evaluations.items(), 1):
            sections += _under(name, evaluation_sections(evaluation, f"evaluation-{number}"), len(names) > 1)
        for number, (name, inference) in enumerate(sources.inferences.items(), 1):
            prefix = f"{number}-" if len(sources.inferences) > 1 else ""
            cases = []
            for case in case_pages(inference, prefix, most_cases, niivue, heading):
                _write(place, case.file, html_of(case.page).encode("utf-8"))
                cases.append(case)
            sections += _under(name, inference_sections(inference, cases), len(names) > 1)
        page = Page(heading, _subtitle(sources), sections)
        text, pictures = markdown_of(page)
        _write(place, INDEX, html_of(page).encode("utf-8"))
        _write(place, MARKDOWN, text.encode("utf-8"))
        for name, data in pictures.items():
            _write(place, f"{PICTURES}/{name}", data)
        listed = sorted([*files_below(place), _LIST])
        # the names say what a later report may replace
        _write(place, _LIST, _json({"format": _FORMAT, "files": listed}))
    return folder / INDEX


def is_report(folder: Path) -> bool:
    """Whether a folder holds a report and nothing else."""
    return (folder / _LIST).is_file() and _foreign(folder) is None


def _foreign(folder: Path) -> str | None:
    try:
        record = read_json(folder / _LIST)
    except (FileNotFoundError, JsonFileError):
        return "it holds files that no report wrote"
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        return "it holds files that no report wrote"
    own = set(record.get("files") or ())
    others = [name for name in files_below(folder) if name not in own]
    return f"it holds {others[0]}, which no report wrote" if others else None


def _under(name: str, sections: Sequence[Section], several: bool) -> list[Section]:
    """The parts of one of several runs bear its name."""
    if not several:
        return list(sections)
    return [Section(f"{name}: {part.title}", part.blocks, part.folded) for part in sections]


def _subtitle(sources: Sources) -> str:
    bundles = sorted({run.bundle for run in sources.trainings.values() if run.bundle})
    found = [
        (len(sources.comparisons), "comparison"),
        (len(sources.trainings), "training"),
        (len(sources.deployments), "deployment"),
        (len(sources.evaluations), "evaluation"),
        (len(sources.inferences), "inference"),
    ]
    parts = [counted(number, what) for number, what in found if number]
    return ", ".join(parts) + (f" of {', '.join(bundles)}" if bundles else "")


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Each folder under the shortest end of its path that no other has.

    Raises:
        ValueError: one is given twice.
    """
    real = [folder.resolve() for folder in folders]
    if twice := sorted({str(folder) for folder in real if real.count(folder) > 1}):
        raise ValueError(f"{twice[0]} is given twice; a run counts once.")
    named = {}
    for folder in real:
        length = 1
        while sum(other.parts[-length:] == folder.parts[-length:] for other in real) > 1:
            length += 1
        named["/".join(folder.parts[-length:])] = folder
    return named


def _write(place: Path, name: str, data: bytes) -> None:
    write_atomic(output_path(place, name), lambda path: path.write_bytes(data) and None)


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode("utf-8")
