"""The pages of an inference: all cases on one, and one for each with its slices."""

from __future__ import annotations

import csv
import logging
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ckdmed.counted import counted

from .blocks import Bars, Card, Cards, Facts, Page, Picture, Section, Table, Text
from .case_images import CaseImages, read_case_images
from .case_pictures import slice_viewer, thumbnail
from .inference_run import InferenceRun, Result
from .niivue import NiiVue, volume_viewer
from .words import NONE, shown_value

__all__ = ["CASES", "amounts_of", "case_pages", "inference_sections"]

logger = logging.getLogger(__name__)

#: folder of the pages of cases
CASES = "cases"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class CasePage:
    """The page of a case, and what the page of all says of it.

    Attributes:
        name: of the case.
        file: of its page, below the report's folder.
        page: itself.
        card: for the list.
        amounts: region -> amount in words.
    """

    name: str
    file: str
    page: Page
    card: Card
    amounts: Mapping[str, str]


def case_pages(run: InferenceRun, prefix: str, most: int, niivue: NiiVue | None, up: str) -> Iterator[CasePage]:
    """A page for each of the first ``most`` results.

    A case whose input is gone, or no longer fits its mask, gets a page that says so, with the overlay that the
    inference drew.

    Args:
        run: the inference.
        prefix: of the pages' names, to tell inferences of one report from each other.
        most: how many cases get a page.
        niivue: for volumes, or None.
        up: title of the page of all.
    """
    taken: set[str] = set()
    for result in tqdm(run.results[:most], desc="pages of cases", unit="case", leave=False):
        name = _file_name(prefix + result.name, taken)
        yield _case(run, result, f"{CASES}/{name}.html", niivue, up)


def inference_sections(run: InferenceRun, cases: Sequence[CasePage]) -> list[Section]:
    """The parts about an inference on the page of all: counts, cases, amounts, what was skipped, settings."""
    report, counts = run.report, run.report.get("counts") or {}
    facts = [
        ("inputs with results", str(len(run.results)), f"{counts.get('kept', 0)} of an earlier run"),
        ("skipped", str(len(run.skipped)), "see below" if run.skipped else ""),
        ("checkpoint", Path(str(report.get("checkpoint"))).name, str(report.get("checkpoint_sha256") or "")[:12]),
    ]
    blocks: list[Any] = [Facts(facts)]
    if taught := sum(result.taught for result in run.results):
        blocks.append(
            Text(
                f"{taught} of the inputs are of patients that the network was trained or chosen on; their results say "
                "nothing about how well it does on others.",
                "warning",
            )
        )
    if unlike := sum(map(_is_unlike, run.results)):
        blocks.append(
            Text(f"unlike what the network was made for: {counted(unlike, 'input')}; their pages say why.", "warning")
        )
    if isinstance(use := report.get("research_use"), str):
        blocks.append(Text(use, "note"))
    parts = [Section("Inference", blocks)]
    listed: list[Any] = [Cards([case.card for case in cases])]
    if left := len(run.results) - len(cases):
        listed.append(
            Text(f"without a page here: {counted(left, 'further case')}; --cases sets how many get one.", "warning")
        )
    parts.append(Section("Cases", listed))
    regions = list(dict.fromkeys(name for case in cases for name in case.amounts))
    if regions:
        rows = [[case.name, *(case.amounts.get(region, NONE) for region in regions)] for case in cases]
        parts.append(Section("What was found", [Table(["case", *regions], rows)]))
    if run.skipped:
        rows = [[str(entry.get("file")), str(entry.get("cause"))] for entry in run.skipped]
        parts.append(Section("Skipped inputs", [Table(["file", "cause"], rows, prose=True)]))
    parts.append(Section("Settings of the inference", _settings(run)))
    return parts


def _settings(run: InferenceRun) -> list[Any]:
    rows = [[name, shown_value(value)] for name, value in run.settings.items()]
    rows += [
        ["checkpoint", str(run.report.get("checkpoint"))],
        ["inputs", str(run.report.get("dataset_dir") or "phantoms")],
    ]
    blocks: list[Any] = [Table(["setting", "value"], rows, prose=True)]
    if run.command:
        blocks.append(Table(["", ""], [["command", shlex.join(run.command)]], "Command", folded=True, prose=True))
    if run.versions:
        packages = [[name, version] for name, version in run.versions.items()]
        blocks.append(Table(["package", "version"], packages, "Versions", folded=True, prose=True))
    return blocks


def _case(run: InferenceRun, result: Result, file: str, niivue: NiiVue | None, up: str) -> CasePage:
    classes = _probabilities(result)
    warnings = [Text(f"{name} is no longer there.", "warning") for name in result.missing]
    warnings += [Text(warning, "warning") for warning in result.warnings]
    blocks: list[Any] = list(warnings)
    amounts: dict[str, str] = {}
    picture, shown = b"", True
    try:
        images = read_case_images(result, run.settings)
    # inputs are others' files, which may have been moved or changed since; the other pages are made all the same
    except (OSError, ValueError) as error:
        logger.warning(f"{result.name}: its slices are not shown: {error}")
        blocks += [Text(f"The slices cannot be shown: {error}", "warning"), *_overlay(result, file)]
        sections, shown = [Section("Slices", blocks)], False
    else:
        amounts, picture = amounts_of(images), thumbnail(images)
        facts = [(name, words, "") for name, words in amounts.items()]
        captions = {number: f"predicted {row['predicted']}" for number, row in classes.items()}
        blocks += [*([Facts(facts)] if facts else []), slice_viewer(images, captions), _place(images)]
        sections = [Section(f"Slices{f' ({images.modality})' if images.modality else ''}", blocks)]
        volume = None if niivue is None or not images.regions else volume_viewer(images, niivue)
        if volume is not None:
            sections.append(Section("Volume", [volume]))
    means = _mean_probabilities(classes)
    if means:
        rows = [(name, value, f"{value:.3f}") for name, value in means.items()]
        sections.insert(0, Section("Classes", [Bars("Probability, mean over the slices", rows)]))
    sections.append(Section("Files", _files(result)))
    likely = max(means, key=lambda name: means[name]) if means else None
    lines = [f"{name}: {words}" for name, words in amounts.items()]
    lines += [f"{likely} ({means[likely]:.2f})"] if likely is not None else []
    # what cannot be seen is not what is not there
    lines += [] if shown else ["its slices cannot be shown"]
    lines += [f"{len(result.missing)} of its files are no longer there"] if result.missing else []
    lines += ["the network was trained or chosen on this patient"] if result.taught else []
    lines += ["of the training's test set"] if result.known_from and not result.taught else []
    lines += [str(result.more["intended_inputs"]["warning"])] if _is_unlike(result) else []
    # below `cases` the page of all is one folder up
    page = Page(result.name, "", sections, ("../index.html", up))
    found = {**amounts, **({"class": lines[len(amounts)]} if likely is not None else {})}
    return CasePage(result.name, file, page, Card(result.name, lines or ["no mask and no class"], file, picture), found)


def amounts_of(images: CaseImages) -> dict[str, str]:
    """Region -> its volume in ml, its area in cm² or its pixels, by what the file tells."""
    amounts = {}
    for name, mask in images.regions.items():
        voxels = int(mask.sum())
        if images.voxel_ml is not None:
            amounts[name] = f"{voxels * images.voxel_ml:.2f} ml"
        elif images.spacing_mm is not None:
            amounts[name] = f"{voxels * images.spacing_mm[1] * images.spacing_mm[2] / 100:.2f} cm²"
        else:
            amounts[name] = f"{voxels} px"
    return amounts


def _is_unlike(result: Result) -> bool:
    """Whether the inference said that the network was not made for such an input."""
    found = result.more.get("intended_inputs")
    return isinstance(found, Mapping) and bool(found.get("warning"))


def _place(images: CaseImages) -> Text:
    if images.spacing_mm is None:
        return Text("The file does not state which side of the patient is which, or the size of a pixel.", "note")
    row, column = images.spacing_mm[1:]
    size = f"A pixel is {row:.3g} x {column:.3g} mm."
    if images.edges is None:
        return Text(f"The file does not state which side of the patient is which, or which way is up. {size}", "note")
    sides = "R and L are the patient's right and left" if images.edges == ("R", "L") else "A is the front, P the back"
    return Text(f"{sides}, by the file's affine. {size}", "note")


def _overlay(result: Result, file: str) -> list[Picture]:
    stem = Path(file).stem
    found = [path for path in result.outputs if path.name.endswith("_overlay.png")]
    return [Picture(path.read_bytes(), f"{stem}-overlay.png", "Overlay of the prediction") for path in found[:1]]


def _files(result: Result) -> list[Any]:
    rows = [["input", str(file)] for file in result.inputs] + [["result", str(file)] for file in result.outputs]
    rows += [[str(name), shown_value(value)] for name, value in result.facts.items()]
    return [Table(["", "file"], rows, prose=True)]


def _probabilities(result: Result) -> dict[int, dict[str, str]]:
    """Slice -> row of the table of probabilities, where classes were predicted."""
    path = next((file for file in result.outputs if file.name.endswith("_probabilities.csv")), None)
    if path is None:
        return {}
    with open(path, encoding="utf-8", newline="") as stream:
        try:
            return {int(row["slice"]): {**row, "predicted": row["predicted"]} for row in csv.DictReader(stream)}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is not a table of probabilities ({error}); run the inference again.") from error


def _mean_probabilities(classes: Mapping[int, Mapping[str, str]]) -> dict[str, float]:
    columns = [name for row in list(classes.values())[:1] for name in row if name.startswith("probability_")]
    return {
        name.removeprefix("probability_"): sum(float(row[name]) for row in classes.values()) / len(classes)
        for name in columns
    }


def _file_name(name: str, taken: set[str]) -> str:
    """A name that every file system and every address takes, not given before."""
    plain = _UNSAFE.sub("_", name).strip("._")[:120] or "case"
    free, number = plain, 1
    while free.lower() in taken:
        number += 1
        free = f"{plain}-{number}"
    taken.add(free.lower())
    return free
