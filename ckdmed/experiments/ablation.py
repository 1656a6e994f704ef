"""The ablation of COHRA-UNet: each run is a run of the bundle of BraTS teachers, each result a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.data.brats import read_brats_datalist
from ckdmed.experiments.ablation_arms import ABLATION_BUNDLE, BASELINE, FACTORS, AblationRun, configuration
from ckdmed.experiments.case_records import (
    DICE,
    LESIONWISE_DICE,
    REGION_DICE,
    case_phantoms,
    case_scores,
    distance_table,
)
from ckdmed.experiments.recorded_runs import RecordedRuns, check_one_datalist, read_sections, seconds_line, write_table
from ckdmed.experiments.sizes import sizes_of
from ckdmed.files import load_weights
from ckdmed.reports import RunRecord, arm_table

__all__ = ["Ablation", "ablation_phantoms", "ablation_sizes", "ablation_tables", "write_ablation_tables"]

# what trains in half a minute on one free core and still has five levels and real batches; in bfloat16 group
# normalisation is slower on a CPU, not faster
_COMPACT: dict[str, Any] = {
    "image_size": 64,
    "teacher_base": 8,
    "batch_size": 8,
    "slices_per_epoch": 240,
    "epochs": 8,
    "learning_rate": 0.004,
    "amp": False,
    "augmentation": "flips",
    "cache": "memory",
}

# for tests
_TINY: dict[str, Any] = {
    **_COMPACT,
    "image_size": 32,
    "teacher_base": 2,
    "slices_per_epoch": 16,
    "epochs": 2,
}

_SIZE = "parameters [million]"


def ablation_sizes(preset: str) -> dict[str, Any]:
    """The settings of a preset: "compact", "tiny", or "full" for the bundle's own with a data folder.

    Raises:
        ValueError: an unknown preset.
    """
    return sizes_of(preset, _COMPACT, _TINY, ABLATION_BUNDLE, teacher="cohra")


def ablation_phantoms(folder: Path, cases: int, shape: Sequence[int], seed: int = 0) -> Path:
    """A folder of BraTS phantoms with its datalist, made once; 60/20/20, so that few cases still judge."""
    return case_phantoms(folder, cases, shape, seed, (0.6, 0.2, 0.2))


@dataclass
class Ablation(RecordedRuns[AblationRun]):
    """Runs what is missing of an ablation; see :class:`~ckdmed.experiments.recorded_runs.RecordedRuns`.

    All runs share the patients, the slice cache and the settings but one. ``teacher_options`` of the settings hands
    further arguments to the network, such as ``heads``.

    Raises:
        ValueError: settings or arguments of the network that the ablation varies.
    """

    datalist_command: ClassVar[str] = "brats-datalist"
    made_settings: ClassVar[tuple[str, ...]] = (*RecordedRuns.made_settings, "teacher_kind", "loss")

    def __post_init__(self) -> None:
        super().__post_init__()
        of_factors = {key for factor in FACTORS.values() for value in factor.values.values() for key in value}
        if taken := sorted(of_factors & set(self.settings.get("teacher_options") or {})):
            raise ValueError(
                f"teacher_options sets {', '.join(taken)}, which the ablation varies; choose another base "
                "configuration instead."
            )

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_brats_datalist(path)

    def run_settings(self, run: AblationRun, base: Mapping[str, Any]) -> dict[str, Any]:
        return run.settings(base)

    def metrics(self, run: AblationRun, summary: Mapping[str, Any]) -> dict[str, Any]:
        weights = load_weights(self.folder(run) / "models" / "model.pt")
        return {
            **case_scores(summary),
            # without the statistics that batch normalisation keeps
            _SIZE: sum(v.numel() for k, v in weights.items() if "running_" not in k and v.is_floating_point()) / 1e6,
        }


def ablation_tables(records: Sequence[RunRecord]) -> str:
    """Markdown: for each section the base configuration and the others, with their paired difference to it.

    Args:
        records: of :class:`Ablation`.

    Raises:
        ValueError: records of several datalists, which are not comparable.
    """
    check_one_datalist(records)
    parts = []
    for section in ("test", "validation"):
        own = [record for record in records if record.split["section"] == section]
        if not own:
            continue
        names = _labels(own)
        baseline = BASELINE if BASELINE in names else None
        parts.append(f"### {section.capitalize()} section\n")
        parts.append(arm_table(own, (DICE,), baseline, names))
        parts.append(arm_table(own, (*REGION_DICE, LESIONWISE_DICE), None, names))
        parts.append(distance_table(own, baseline, names))
        parts.append(_remarks(own, names, baseline))
    return "\n".join(parts)


def _labels(records: Sequence[RunRecord]) -> dict[str, str]:
    """Arm -> name to print: the base first, then one change after the other in the order of the factors."""
    present = {record.arm: record for record in records}
    order = [BASELINE, *(f"{name}={value}" for name, factor in FACTORS.items() for value in factor.values)]
    known = [arm for arm in order if arm in present]
    return {arm: _label(arm, present[arm].settings) for arm in [*known, *sorted(set(present) - set(known))]}


def _label(arm: str, settings: Mapping[str, Any]) -> str:
    if arm == BASELINE:
        return f"base ({', '.join(configuration(settings).values())})"
    parts = [part.partition("=") for part in arm.split("+")]
    return ", ".join(f"{FACTORS[name].label}: {value}" if name in FACTORS else name for name, _, value in parts)


def _remarks(records: Sequence[RunRecord], names: Mapping[str, str], baseline: str | None) -> str:
    text = "Scores are means over patients of the mean of the regions, unless a region is named.\n"
    others = len(names) - 1
    if baseline is not None and others > 1:
        text += (
            f"{others} configurations are compared with one: of that many 95% intervals, about {others / 20:.1f} lie "
            "beside zero where nothing differs.\n"
        )
    sizes = {record.arm: record.metrics[_SIZE] for record in records}
    text += f"Parameters in millions: {', '.join(f'{names[arm]} {sizes[arm]:.2f}' for arm in names)}.\n"
    return f"{text}{seconds_line(records, names)}"


def write_ablation_tables(folder: Path, path: Path) -> str:
    """The tables of the records below ``folder`` (``validation`` and ``test``), written to ``path``.

    Raises:
        ValueError: there are no records.
    """
    return write_table(ablation_tables(read_sections(folder)), path)
