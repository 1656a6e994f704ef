"""Every point of every network, each evaluated once by the network's own bundle, with a record that stays."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.utils import CommonKeys
from tqdm import tqdm

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.run_lock import hold, release
from ckdmed.bundle.typed_command import typed_command
from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.data.sections import stored_datalist
from ckdmed.data.splits import GROUP_KEY
from ckdmed.export.undisturbed import undisturbed
from ckdmed.file_hash import sha256_of
from ckdmed.files import remove_leftovers, write_atomic
from ckdmed.paths import output_path
from ckdmed.recipes import check_corruption
from ckdmed.reports import RunRecord
from ckdmed.robustness.networks import CONFIGS, ScoredNetwork, check_settings_of
from ckdmed.robustness.points import OF_POINT, OF_SECTION, Point
from ckdmed.robustness.scores import read_scores

__all__ = ["SECTIONS", "RobustnessEvaluation", "RobustnessOptions"]

#: that can be scored
SECTIONS = ("validation", "test")
_SHOWN = 3


@dataclass(frozen=True)
class RobustnessOptions:
    """How to evaluate.

    Attributes:
        dataset_dir: data of the bundle; None for phantoms, which are made in the output folder.
        section: "validation" or "test".
        final: the test set is looked at, after the other section.
        images: of a section at most, spread over its patients; None for all.
        settings: of the evaluations, such as ``tta``; the teacher's bundle gets those that it has.

    Raises:
        ValueError: another section; the test section without ``final``; fewer than one image.
    """

    dataset_dir: Path | None = None
    section: str = "validation"
    final: bool = False
    images: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(f"the section must be one of {', '.join(SECTIONS)}, got {self.section!r}.")
        if self.section == "test" and not self.final:
            raise ValueError(
                "the test set is scored only once, when nothing is left to choose: confirm with --final, or score the "
                "validation section."
            )
        if self.images is not None and self.images < 1:
            raise ValueError(f"--images must be at least 1, got {self.images}.")

    @property
    def sections(self) -> tuple[str, ...]:
        """In the order in which they are scored."""
        return tuple(dict.fromkeys((self.section, *(("test",) if self.final else ()))))


@dataclass
class RobustnessEvaluation:
    """Networks over points. A point is done when its record lies in ``records/SECTION``; it is not evaluated again.

    Args:
        networks: of which each is scored on the same images.
        points: see `points_of`.
        output_dir: of records and evaluations.
        options: see there.
        command: noted in the records, one entry per word.

    Raises:
        ValueError: settings that the bundle lacks or that are made here, wrong values of settings, or images that
            cannot be corrupted, see :func:`~ckdmed.recipes.check_corruption`.
    """

    networks: Sequence[ScoredNetwork]
    points: Sequence[Point]
    output_dir: Path
    options: RobustnessOptions
    command: Sequence[str] = field(default_factory=typed_command)

    def __post_init__(self) -> None:
        check_settings_of(list(self.networks), self.options.settings)
        worse = next((point.corruption for point in self.points if point.corruption is not None), None)
        for network in self.networks:
            if "task" in network.config:
                with undisturbed():
                    task = self._workflow(network).parser.get_parsed_content("task")
                check_corruption(task, worse)

    def steps(self) -> list[tuple[str, ScoredNetwork, Point]]:
        """Section, network and point of each evaluation, in their order: point by point, so that a half done one has
        both networks; the test section last."""
        return [
            (section, network, point)
            for section in self.options.sections
            for point in self.points
            for network in self.networks
        ]

    def listed(self) -> list[str]:
        """A line for each step, with whether its record is there; nothing is made."""
        return [
            f"{'done' if self.record_path(*step).is_file() else '    '}  {step[0]}: {_title(*step[1:])}"
            for step in self.steps()
        ]

    def record_path(self, section: str, network: ScoredNetwork, point: Point) -> Path:
        """Where the record of a step lies."""
        return output_path(self.output_dir, f"records/{section}/{network.name}-{point.name}.json", make_parents=False)

    def check(self) -> list[str]:
        """Read which images are scored, before any is.

        Returns:
            What its user should know, a line each.

        Raises:
            ValueError: a section is empty, the networks would be scored on different images, or one of them was
                trained on patients of the section.
        """
        notes = []
        for network in self.networks:
            known = network.trained_on()
            if known is None:
                notes.append(
                    f"{network.source.checkpoint} has no record of its patients: whether it was trained on those that "
                    "are scored is unknown."
                )
            for section in self.options.sections:
                items = self._items[section, network.name]
                seen = sorted({str(item[GROUP_KEY]) for item in items} & (known or set()))
                if seen:
                    everyone = len({str(item[GROUP_KEY]) for item in items})
                    other = "" if section == "test" else " To score only the test section, use --section test --final."
                    raise ValueError(
                        f"{network.source.checkpoint} was trained on {len(seen)} of the {everyone} patients of the "
                        f"section {section} ({', '.join(seen[:_SHOWN])}{' ...' if len(seen) > _SHOWN else ''}): its "
                        f"scores there say nothing about unseen patients.{other}"
                    )
        first, *others = self.networks
        for section in self.options.sections:
            own = _ids(self._items[section, first.name])
            for network in others:
                if _ids(self._items[section, network.name]) != own:
                    raise ValueError(
                        f"{network.source.checkpoint} has other images in the section {section} than "
                        f"{first.source.checkpoint}: they were trained on different splits, so their scores cannot be "
                        "compared. Give a teacher of the same split."
                    )
        return notes

    def done(self, section: str, network: ScoredNetwork, point: Point) -> bool:
        """Whether the record is there.

        Raises:
            ValueError: it is there, made of another checkpoint, with other settings or other data.
        """
        path = self.record_path(section, network, point)
        if not path.is_file():
            return False
        self._check_alike(path, RunRecord.read(path), self._recorded(section, network, point))
        return True

    def _check_alike(
        self, path: Path, record: RunRecord, planned: Mapping[str, Any], may_differ: Collection[str] = ()
    ) -> None:
        """Raise ValueError where a record was made with other settings or other data than are planned."""
        then = record.settings
        # a setting that is given in one of the two commands alone is in one of the two alone
        names = [key for key in dict.fromkeys([*planned, *then]) if key not in may_differ]
        differ = [key for key in names if then.get(key) != planned.get(key)]
        if differ or record.data_sha256 != self._data_sha256:
            what = ", ".join(f"{key} {then.get(key)!r} then and {planned.get(key)!r} now" for key in differ)
            raise ValueError(
                f"{path} was made with other settings ({what or 'another datalist'}); use another output folder."
            )

    def _check_beside(self) -> None:
        """The same of all records of these networks, whatever their section and point: they share tables."""
        networks, first = {network.name: network for network in self.networks}, self.options.sections[0]
        for path in sorted(self.output_dir.glob("records/*/[!.]*.json")):
            record = RunRecord.read(path)
            network, own = networks.get(str(record.settings.get("network"))), record.split.get("section")
            if network is not None:
                section, may_differ = (own, OF_POINT) if own in self.options.sections else (first, OF_SECTION)
                self._check_alike(path, record, self._recorded(str(section), network, self.points[0]), may_differ)

    def do(self, progress: bool = True) -> None:
        """Evaluate what is missing; the test section after all others.

        Args:
            progress: show a bar over the images.

        Raises:
            ValueError: see :meth:`check` and :meth:`done`; nothing is evaluated then.
            RuntimeError: an evaluation failed; names it.
        """
        self._check_beside()
        steps = self.steps()
        missing = [step for step in steps if not self.done(*step)]
        hold(self.output_dir)
        try:
            remove_leftovers(self.output_dir)
            total, left = self._count(steps), self._count(missing)
            with tqdm(total=total, initial=total - left, desc="robustness", unit="image", disable=not progress) as bar:
                for section, network, point in missing:
                    bar.set_postfix_str(f"{section}: {_title(network, point)}")
                    self._score(section, network, point, bar.update)
        finally:
            release(self.output_dir)

    def _count(self, steps: Sequence[tuple[str, ScoredNetwork, Point]]) -> int:
        """Images of all steps together."""
        return sum(len(self._items[section, network.name]) for section, network, _ in steps)

    def _score(self, section: str, network: ScoredNetwork, point: Point, seen: Callable[[int], Any]) -> None:
        folder = output_path(self.output_dir, f"evaluations/{section}/{network.name}-{point.name}")
        given = {"section": section, "corruption": point.corruption, "evaluation_dir": str(folder)}
        begun = time.monotonic()
        with undisturbed() as told:
            try:
                workflow = self._workflow(network, **given)
                workflow.initialize()
                evaluator = workflow.parser.get_parsed_content("validate#evaluator")
                evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen(_size(engine.state.batch)))
                workflow.run()
                workflow.finalize()
            except Exception as error:
                # MONAI says "Failed to evaluate ..." of whatever went wrong
                cause = in_words(root_cause(error))
                raise RuntimeError(f"{section}, {_title(network, point)}: {cause}") from error
            finally:
                workflow = evaluator = None  # type: ignore[assignment]
                gc.collect()
        text = told.getvalue()
        write_atomic(folder / "log.txt", lambda temporary: temporary.write_text(text, encoding="utf-8"))
        metrics, patient_score, patients = read_scores(folder)
        RunRecord(
            name=f"{network.name}-{point.name}",
            arm=_title(network, point),
            command=list(self.command),
            seed=0,
            split={"section": section},
            metrics=metrics,
            patients={patient_score: patients},
            data_sha256=self._data_sha256,
            settings=self._recorded(section, network, point),
            seconds=round(time.monotonic() - begun, 1),
            notes="seconds are those of the evaluation",
        ).write(self.record_path(section, network, point))

    def _recorded(self, section: str, network: ScoredNetwork, point: Point) -> dict[str, Any]:
        """As JSON has it."""
        kept = {
            "bundle": network.source.bundle,
            "network": network.name,
            "checkpoint_sha256": network.sha256,
            "corruption": point.corruption,
            "severity_value": point.value,
            "images": len(self._items[section, network.name]),
            "images_sha256": hashlib.sha256("\n".join(_ids(self._items[section, network.name])).encode()).hexdigest(),
            **network.own(self.options.settings),
        }
        if files := self._files_sha256.get((section, network.name)):
            kept["files_sha256"] = files
        return dict(json.loads(json.dumps(kept)))

    def _workflow(self, network: ScoredNetwork, **given: Any) -> ConfigWorkflow:
        data, config = self.options.dataset_dir, network.config
        made: dict[str, Any] = {
            **network.own(self.options.settings),
            "dataset_dir": None if data is None else str(data),
            "output_dir": str(self.output_dir),
            "bundle_root": str(network.source.root),
            "checkpoint": str(network.source.checkpoint),
            **given,
        }
        if self.options.images is not None:
            items = config["validate#dataset"]["data"].removeprefix("$")
            made["validate#dataset#data"] = f"$ckdmed.bundle.spread_items({items}, {self.options.images})"
        if "calibration_evaluator" in config:
            # a temperature is another question, and would be fitted anew at each point
            made["calibration_evaluator#_disabled_"] = True
        if "gradcam" in config:
            made["gradcam"] = {}
        for number, handler in enumerate(config["validate#handlers"]):
            if handler["_target_"].endswith("ProgressBar"):
                # there is one bar for all
                made[f"validate#handlers#{number}#_disabled_"] = True
        return bundle_workflow(network.source.configs, made, CONFIGS)

    @cached_property
    def _items(self) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
        return {
            (section, network.name): self._read_items(section, network)
            for network in self.networks
            for section in self.options.sections
        }

    def _read_items(self, section: str, network: ScoredNetwork) -> list[Mapping[str, Any]]:
        with undisturbed():
            try:
                parser = self._workflow(network, section=section, corruption=None).parser
                parser.parse(True)
                return list(parser.get_parsed_content("validate#dataset").data)
            except Exception as error:
                cause = root_cause(error)
                if not isinstance(cause, (ValueError, OSError)):
                    raise
                raise ValueError(f"{section}, {network.name}: {in_words(cause)}") from error

    @cached_property
    def _files_sha256(self) -> dict[tuple[str, str], str]:
        """Of images and masks of a folder without a datalist: another may have cases of the same names."""
        if self.options.dataset_dir is None or self._data_sha256:
            return {}
        return {place: _sha256_of_files(items) for place, items in self._items.items()}

    @cached_property
    def _data_sha256(self) -> str:
        data = self.options.dataset_dir
        if data is None:
            return ""
        path = stored_datalist(data)
        return sha256_of(path) if path.is_file() else ""


def _title(network: ScoredNetwork, point: Point) -> str:
    return f"{network.name}, {point.name.replace('_', ' ').replace('-', ' ')}"


def _ids(items: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(str(item["id"]) for item in items)


def _sha256_of_files(items: Sequence[Mapping[str, Any]]) -> str:
    """Of the images and masks by their content; of a class that is no file but a number, the number."""
    files: dict[str, None] = {}
    classes: list[str] = []
    for item in items:
        for key in (CommonKeys.IMAGE, CommonKeys.LABEL):
            value = item.get(key)
            if isinstance(value, (str, PathLike)):
                files[str(value)] = None
            elif isinstance(value, Sequence):
                files |= dict.fromkeys(map(str, value))
            elif value is not None:
                classes.append(str(value))
    return hashlib.sha256("\n".join([*map(sha256_of, files), *classes]).encode()).hexdigest()


def _size(batch: Any) -> int:
    """Items of a batch: a list of them, or one item with a leading axis."""
    return len(batch) if isinstance(batch, list) else len(batch["image"])
