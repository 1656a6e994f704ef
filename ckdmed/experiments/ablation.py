"""Which design choices of COHRA-UNet matter? One choice changed at a time, over seeds, on BraTS cases."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.data.brats import read_brats_datalist
from ckdmed.experiments.ablation_factors import ABLATION_BUNDLE, BASELINE, FACTORS, ablation_arms, configuration
from ckdmed.experiments.cases import (
    DICE,
    LESIONWISE_DICE,
    add_case_phantom_options,
    case_phantoms,
    case_scores,
    distance_table,
    region_tables,
)
from ckdmed.experiments.engine import Experiment
from ckdmed.experiments.given_settings import parse_settings, profile_settings
from ckdmed.experiments.plan import Run, check_different
from ckdmed.experiments.tables import Group, by_key, named_arms, over_patients, seconds_line, section_title
from ckdmed.files import load_weights
from ckdmed.reports import RunRecord, arm_table

__all__ = ["EXPERIMENT", "Ablation"]

_SIZE = "parameters [million]"


@dataclass
class Ablation(Experiment):
    """The base configuration of COHRA-UNet and its neighbours.

    All runs share the patients, the slice cache and the settings but one. ``teacher_options`` of the settings hands
    further arguments to the network, such as ``heads``.

    Raises:
        ValueError: settings or arguments of the network that the ablation varies.
    """

    name: ClassVar[str] = "ablation"
    data: ClassVar[str] = "BraTS cases with a datalist.json"
    datalist_command: ClassVar[str] = "brats-datalist"
    bundle: ClassVar[str] = ABLATION_BUNDLE
    made_settings: ClassVar[tuple[str, ...]] = (*Experiment.made_settings, "teacher_kind", "loss")
    patient_score: ClassVar[str] = DICE
    headline: ClassVar[str] = DICE
    compact: ClassVar[Mapping[str, Any]] = {}
    tiny: ClassVar[Mapping[str, Any]] = {
        "image_size": 32,
        "teacher_base": 2,
        "batch_size": 8,
        "slices_per_epoch": 16,
        "epochs": 2,
        "learning_rate": 0.004,
        "amp": False,
        "augmentation": "flips",
        "cache": "memory",
    }

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--vary",
            nargs="+",
            action="append",
            default=[],
            metavar=("FACTOR", "VALUE"),
            help=f"a factor ({', '.join(FACTORS)}) and the values to try, all by default; repeatable. Without it every "
            "factor is varied",
        )
        parser.add_argument(
            "--base", nargs="+", default=[], metavar="FACTOR=VALUE", help="changes to the base configuration"
        )
        parser.add_argument(
            "--grid", action="store_true", help="run every combination of the values, instead of one change at a time"
        )
        add_case_phantom_options(parser, 30, (64, 64, 40))

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        names = [words[0] for words in args.vary]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"--vary names {', '.join(sorted(twice))} twice; give all values of a factor at once.")
        base = {name: str(value) for name, value in parse_settings(args.base, "factors").items()}
        arms = ablation_arms({words[0]: words[1:] for words in args.vary} or None, base, args.grid)
        check_different(seeds=args.seeds)
        # seed by seed, so that a half done ablation is a whole smaller one
        return [Run(arm, seed, f"{arm.name}-seed={seed}") for seed in args.seeds for arm in arms]

    @classmethod
    def profile_settings(cls, profile: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return profile_settings(profile, cls.bundle, cls.tiny, cls.compact, {**(given or {}), "teacher_kind": "cohra"})

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        super().check_settings(settings)
        of_factors = {key for factor in FACTORS.values() for value in factor.values.values() for key in value}
        if taken := sorted(of_factors & set(settings.get("teacher_options") or {})):
            raise ValueError(
                f"teacher_options sets {', '.join(taken)}, which the ablation varies; choose another base "
                "configuration instead."
            )

    @classmethod
    def phantoms(cls, folder: Path, args: argparse.Namespace) -> Path:
        # few cases have to judge as well
        return case_phantoms(folder, args.phantom_cases, args.phantom_shape, 0, (0.6, 0.2, 0.2))

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_brats_datalist(path)

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        options = {**(base.get("teacher_options") or {}), **run.arm.settings["teacher_options"]}
        return {**base, **run.arm.settings, "teacher_options": options, "seed": run.seed}

    def scores(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        weights = load_weights(self.folder(run) / "models" / "model.pt")
        return {
            **case_scores(summary),
            # without the statistics that batch normalisation keeps
            _SIZE: sum(v.numel() for k, v in weights.items() if "running_" not in k and v.is_floating_point()) / 1e6,
        }

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        # the base first, then one change after the other in the order of the factors
        order = [BASELINE, *(f"{name}={value}" for name, factor in FACTORS.items() for value in factor.values)]
        groups = []
        for own in by_key(records, lambda record: record.split["section"] != "test").values():
            settings = {record.arm: record.settings for record in own}
            present = named_arms(own, {arm: arm for arm in order})
            names = {arm: (labels or {}).get(arm) or _label(arm, settings[arm]) for arm in present}
            baseline = BASELINE if BASELINE in names else None
            groups.append(
                Group(section_title(own[0]), own[0].split["section"], own, names, baseline, cls.patient_score)
            )
        return groups

    @classmethod
    def group_tables(cls, group: Group) -> list[str]:
        own, names, baseline = group.records, group.names, group.baseline
        return [
            arm_table(own, (DICE, LESIONWISE_DICE), baseline, names),
            *over_patients(group, DICE),
            distance_table(own, baseline, names),
            *region_tables(own, names),
            _remarks(group),
        ]


def _label(arm: str, settings: Mapping[str, Any]) -> str:
    if arm == BASELINE:
        return f"base ({', '.join(configuration(settings).values())})"
    parts = [part.partition("=") for part in arm.split("+")]
    return ", ".join(f"{FACTORS[name].label}: {value}" if name in FACTORS else name for name, _, value in parts)


def _remarks(group: Group) -> str:
    text = "Scores are means over patients of the mean of the regions, unless a region is named.\n"
    names = group.names
    others = len(names) - 1
    if group.baseline is not None and others > 1:
        text += (
            f"{others} configurations are compared with one: of that many 95% intervals, about {others / 20:.1f} "
            "exclude zero even if nothing differs.\n"
        )
    sizes = {record.arm: record.metrics[_SIZE] for record in group.records}
    text += f"Parameters in millions: {', '.join(f'{names[arm]} {sizes[arm]:.2f}' for arm in names)}.\n"
    return f"{text}{seconds_line(group.records, names)}"


EXPERIMENT = Ablation
