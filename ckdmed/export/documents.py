"""The documents of a bundle on their way into the exported one, and the figures of an evaluation in them."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.bundle.trained import OF_PREDICTIONS
from ckdmed.counted import counted
from ckdmed.export.configs import read_object, rebase_text
from ckdmed.file_hash import sha256_of
from ckdmed.reports import markdown_table

__all__ = ["eval_metrics", "exported_metadata", "exported_readme", "figures_table", "read_evaluation"]

# marks in a README, invisible where it is rendered
_SOURCE_ONLY = re.compile(r"<!-- source tree only -->.*?<!-- end of source tree only -->\n*", re.DOTALL)
_SHIPPED_ONLY = re.compile(r"<!-- shipped weights only -->(.*?)<!-- end of shipped weights only -->", re.DOTALL)
_LINK_TO_DOCS = re.compile(r"\[([^\]]*)\]\((?:\.\./)+(docs/[^)#]*)(?:#[^)]*)?\)")
_FIGURES = re.compile(r"(<!-- figures: written by the exporter -->\n).*?(<!-- end of figures -->)", re.DOTALL)
_NO_FIGURES = (
    'No figures are recorded here yet. The command "Evaluate" below scores the test set, with bootstrap intervals over '
    "patients, and writes `summary.json` to `evaluation` in the output folder of the run."
)

# of a classification, in the order of the table
_OF_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece")
_OF_REGIONS = ("dice", "hd95", "lesionwise_dice", "lesionwise_hd95_mm")


def read_evaluation(path: Path, checkpoint: Path) -> dict[str, Any]:
    """The ``summary.json`` of an evaluation of exactly this checkpoint.

    Raises:
        ValueError: it is no such summary, one of another checkpoint, or of images that were made worse.
    """
    summary = read_object(path)
    overall = summary.get("overall")
    of_masks = isinstance(overall, dict) and all(isinstance(v, dict) and "patient_mean" in v for v in overall.values())
    if not of_masks and not _of_classes(summary):
        raise ValueError(
            f"'{path}' is not a summary of an evaluation: it has neither means over patients under 'overall' nor the "
            "scores of a classification under 'slices' and 'patients'."
        )
    stated = summary.get("settings", {}).get("checkpoint_sha256")
    if stated != sha256_of(checkpoint):
        raise ValueError(
            f"'{path}' is the evaluation of a checkpoint other than '{checkpoint}' (SHA-256 {stated}); evaluate the "
            "one that is exported."
        )
    if corruption := summary["settings"].get("settings", {}).get("corruption"):
        raise ValueError(
            f"'{path}' is the evaluation of corrupted images (corruption {corruption}); give one of unchanged images."
        )
    return summary


def _of_classes(summary: Mapping[str, Any]) -> bool:
    parts = [summary.get(name) for name in ("slices", "patients")]
    return all(isinstance(part, dict) and "accuracy" in part and "intervals" in part for part in parts)


def figures_table(summary: Mapping[str, Any]) -> str:
    """Means over patients with their intervals (and over slices) as a Markdown table, and what they were measured on.

    Of an evaluation by region, the scores of each region and their mean, ordinary scores apart from lesion-wise ones.
    Of a classification, the scores of slices and those of patients, whose probabilities are the mean of their slices'.
    """
    if _of_classes(summary):
        return _classification_table(summary)
    unit = summary.get("unit")
    columns = ["score", "mean over patients", "interval from", "to"]
    lines = [[score, *_means(values)] for score, values in summary["overall"].items()]
    if "per_region" in summary:
        parts = {**{name: part["overall"] for name, part in summary["per_region"].items()}, "mean": summary["overall"]}
        lines = [
            [f"{score}, {name}", *_means(part[score])] for score in _of_regions(summary) for name, part in parts.items()
        ]
    elif all("slice_mean" in values for values in summary["overall"].values()):
        columns.append("mean over slices")
        lines = [[*line, _number(v["slice_mean"])] for line, v in zip(lines, summary["overall"].values(), strict=True)]
    origin = summary.get("settings", {})
    settings = origin.get("settings", {})
    averaged = "; network outputs averaged over mirrored images (`tta`)" if settings.get("tta") else ""
    threshold = settings.get("threshold", 0.5)
    return (
        f"Measured on {counted(summary['n_slices'], summary.get('counted', 'slices').removesuffix('s'))} of "
        f"{counted(summary['n_patients'], 'patient')} of the {_set_named(origin)}"
        + averaged
        + (f"; masks thresholded at a probability of {threshold}" if threshold != 0.5 else "")
        + (f"; distances in {unit}" if unit else "")
        + f"; intervals are {summary.get('level', 0.95):.0%} bootstrap intervals over patients.\n\n"
        + markdown_table(columns, lines)
    )


def _set_named(origin: Mapping[str, Any]) -> str:
    section = str(origin.get("section", "test"))
    return f"{'training' if section == 'train' else section} set"


def _classification_table(summary: Mapping[str, Any]) -> str:
    columns = ["score", "per slice", "interval from", "to", "per patient", "interval from", "to"]
    lines = []
    for score in _OF_CLASSES:
        line = [score]
        for part in (summary["slices"], summary["patients"]):
            line += [_number(value) for value in (part[score], *part["intervals"].get(score, (None, None)))]
        lines.append(line)
    return (
        f"Measured on {counted(summary['n_slices'], 'slice')} of {counted(summary['n_patients'], 'patient')} of the "
        f"{_set_named(summary.get('settings', {}))}; a patient's probabilities are the mean over the patient's slices; "
        f"intervals are {summary.get('level', 0.95):.0%} bootstrap intervals over patients.\n\n"
        + markdown_table(columns, lines)
    )


def eval_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an evaluation as the field ``eval_metrics`` of a bundle's metadata holds them."""
    section = summary.get("settings", {}).get("section", "test")
    if _of_classes(summary):
        parts = {"slice": summary["slices"], "patient": summary["patients"]}
        return {
            f"{section}_{unit}_{score}": round(part[score], 4) for unit, part in parts.items() for score in _OF_CLASSES
        }
    means = {score: values["patient_mean"] for score, values in summary["overall"].items()}
    for region, part in summary.get("per_region", {}).items():
        means |= {f"{score}_{region}": part["overall"][score]["patient_mean"] for score in _of_regions(summary)}
    return {f"{section}_mean_{score}": round(mean, 4) for score, mean in means.items() if mean is not None}


def _of_regions(summary: Mapping[str, Any]) -> list[str]:
    # slices have no lesion-wise scores
    return [score for score in _OF_REGIONS if score in summary["overall"]]


def _means(values: Mapping[str, Any]) -> list[str]:
    return [_number(value) for value in (values["patient_mean"], *values["patient_interval"])]


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def exported_readme(
    text: str,
    source: str,
    summary: Mapping[str, Any] | None = None,
    shipped: bool = False,
    inference: Mapping[str, Any] | None = None,
) -> str:
    """The README of the exported bundle: its own paths, without what needs the source tree, with figures if given.

    Args:
        text: of the bundle in the source tree.
        source: its path there.
        summary: of an evaluation of the weights that are exported.
        shipped: they are those that ship with the bundle. What the text says of these, their figures among it, is true
            of no others.
        inference: settings of the exported inference. Where an evaluation was made with others, the text says so.

    Raises:
        ValueError: figures are given and the text has no marked place for them.
    """
    text = _LINK_TO_DOCS.sub(_without_link, rebase_text(_SOURCE_ONLY.sub("", text), source))
    text = _SHIPPED_ONLY.sub(lambda match: match[1] if shipped else "", text)
    if summary is None:
        return text if shipped else _FIGURES.sub(lambda match: f"{match[1]}{_NO_FIGURES}\n\n{match[2]}", text)
    if not _FIGURES.search(text):
        raise ValueError(f"the README of {source} has no place marked for figures.")
    table = figures_table(summary).rstrip() + _evaluated_otherwise(summary, inference or {})
    return _FIGURES.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text)


def _without_link(link: re.Match[str]) -> str:
    """The documentation is not exported: its page by name."""
    page = f"{link[2]} of the ckdmed repository"
    return page if link[1] == link[2] else f"{link[1]} ({page})"


def _evaluated_otherwise(summary: Mapping[str, Any], inference: Mapping[str, Any]) -> str:
    """Which settings of the predictions the inference has otherwise than the evaluation had."""
    evaluated = summary.get("settings", {}).get("settings", {})
    both = [name for name in OF_PREDICTIONS if name in evaluated and name in inference]
    found = [f"`{n}` {inference[n]}, not {evaluated[n]}" for n in both if inference[n] != evaluated[n]]
    return f"\n\nThis bundle's inference differs from what was scored; it has {'; '.join(found)}." if found else ""


def exported_metadata(
    metadata: Mapping[str, Any], summary: Mapping[str, Any] | None = None, shipped: bool = False
) -> dict[str, Any]:
    """The metadata with the versions at hand and, if given, the figures.

    Args:
        metadata: of the bundle, with what its network takes and gives.
        summary: of an evaluation.
        shipped: the weights are those that ship with the bundle, whose figures stand in its metadata.
    """
    result = dict(metadata)
    for key, package in (("monai_version", "monai"), ("pytorch_version", "torch"), ("numpy_version", "numpy")):
        result[key] = _version(package, str(result.get(key, "")))
    stated = result.get("required_packages_version", {})
    result["required_packages_version"] = {name: _version(name, version) for name, version in stated.items()}
    if summary is not None:
        result["eval_metrics"] = eval_metrics(summary)
    elif not shipped:
        result["eval_metrics"] = {}
    return result


def _version(package: str, fallback: str) -> str:
    try:
        # the build of a wheel, as in 2.13.0+cpu, is nothing that a bundle requires
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return fallback
