"""The full evaluation of a segmentation network: scores per slice, patient and class, as a report and as pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import distributed

from ckdmed.counted import counted
from ckdmed.handlers.item_writer import check_finite
from ckdmed.metrics import reliability_counts, segmentation_scores
from ckdmed.reports import RegionPicture, write_segmentation_report

__all__ = ["SegmentationEvaluation"]


class SegmentationEvaluation:
    """Score every sample of an evaluator's run and write the report when it ends.

    The evaluator's postprocessing must have made ``pred`` a binary mask on the grid of ``label`` (for masks on their
    own grid: ``Invertd``); where it left the ``probability`` beside it, the report tells whether these are true
    (``reliability_counts``). Where a run is spread over processes, each scores its own samples and rank 0 writes for
    all.

    Args:
        output_dir: where ``scores.csv``, ``patients.csv``, ``summary.json`` and ``best_and_worst.png`` go.
        regions: name of each output channel; a single one gives no column ``region``. Of several, each is scored and
            drawn by itself, and slices rank by their mean Dice over the regions.
        class_key: key of the batch that tells a sample's class.
        class_names: class -> name.
        settings: noted in the summary: checkpoint, split, seed, command.
        n_cases: how many best and how many worst cases are drawn.
        spacing_key: key of the batch with the voxel size in mm along each axis, or None where it is not known and
            distances are in pixels.

    Attach to the evaluator.
    """

    # lists of rows that processes join
    _tables: tuple[str, ...] = ("rows", "reliability")

    def __init__(
        self,
        output_dir: str,
        regions: Sequence[str] = ("tumour",),
        class_key: str = "tumor_label",
        class_names: Mapping[int, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        n_cases: int = 4,
        spacing_key: str | None = None,
    ) -> None:
        self.output_dir = output_dir
        self.regions = tuple(regions)
        self.class_key = class_key
        self.class_names = {str(k): v for k, v in (class_names or {}).items()}
        self.settings = dict(settings or {})
        self.n_cases = n_cases
        self.spacing_key = spacing_key
        self.summary: dict[str, Any] = {}
        self.logger = logging.getLogger(type(self).__name__)
        self._start()

    def _start(self, _: Engine | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.reliability: list[dict[str, Any]] = []
        self._pictures: dict[str, tuple[float, Any]] = {}

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator's beginning, iterations and end."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _iteration(self, engine: Engine) -> None:
        samples: Any = engine.state.batch
        outputs: Any = engine.state.output
        for sample, output in zip(samples, outputs):
            predicted, truth = (np.asarray(torch.as_tensor(output[k]).cpu()) > 0.5 for k in ("pred", CommonKeys.LABEL))
            if predicted.shape != truth.shape:
                raise ValueError(
                    f"{sample.get('id')}: the prediction has shape {predicted.shape}, but the label {truth.shape}; "
                    "map the prediction back to the label's grid before scoring."
                )
            who = {key: _plain(sample.get(key)) for key in ("id", "patient", "patient_group")}
            if "probability" in output:
                near = torch.as_tensor(output["probability"]).cpu().numpy()
                check_finite(str(who["id"]), near)
            self._score({**who, "class": _plain(sample.get(self.class_key))}, sample, output, predicted, truth)
            if "probability" in output:
                spacing = self._spacing(sample, output)
                for region, values, own, true in zip(self.regions, near, predicted, truth, strict=True):
                    counts = reliability_counts(values, own, true, spacing)
                    self.reliability.append({**who, "region": region, "counts": counts})

    def _spacing(self, sample: Any, output: Any) -> list[float] | None:
        """Voxel size in mm along each axis; None where it is not known."""
        return None if self.spacing_key is None else [float(v) for v in sample[self.spacing_key]]

    def _score(self, who: dict[str, Any], sample: Any, output: Any, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Add the rows of a sample, and keep what is needed to draw it."""
        spacing = self._spacing(sample, output)
        dice = []
        for channel, region in enumerate(self.regions):
            row = {**who, "region": region} if len(self.regions) > 1 else who
            scores = segmentation_scores(predicted[channel], truth[channel], spacing)
            self.rows.append({**row, **scores})
            dice.append(scores["dice"])
        image = np.asarray(torch.as_tensor(output[CommonKeys.IMAGE]).float().cpu())[0]
        picture: Any = (image, truth[0], predicted[0])
        if len(self.regions) > 1:
            picture = RegionPicture(np.stack([image] * len(self.regions)), truth, predicted, None)
        self._keep(str(who["id"]), float(np.mean(dice)), picture)

    def _keep(self, name: str, dice: float, picture: Any) -> None:
        # only the best and the worst are drawn: forget what can no longer be either
        self._pictures[name] = (dice, picture)
        # equal scores rank by name, as in the report; there the best are taken first, and the worst of what is left
        best = sorted(self._pictures, key=lambda n: (-self._pictures[n][0], n))[: self.n_cases]
        worst = sorted(self._pictures, key=lambda n: (self._pictures[n][0], n))[: 2 * self.n_cases]
        for middle in self._pictures.keys() - {*best, *worst}:
            del self._pictures[middle]

    def _finish(self, _: Engine) -> None:
        if not self._gather():
            return
        if not self.rows:
            raise ValueError("there was nothing to evaluate: the section of the datalist is empty.")
        self.rows = sorted(self.rows, key=lambda row: str(row["id"]))
        self.reliability = sorted(self.reliability, key=lambda row: str(row["id"]))
        self.summary, table = self._write({name: entry[1] for name, entry in self._pictures.items()})
        of = counted(self.summary["n_slices"], self.summary.get("counted", "slices").removesuffix("s"))
        self.logger.info(f"evaluation of {of}, in {self.output_dir}:\n{table}")

    def _write(self, pictures: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Write the report of the rows; returns its summary and its table."""
        return write_segmentation_report(
            self.rows,
            self.output_dir,
            settings=self.settings,
            pictures=pictures,
            class_names=self.class_names,
            n_cases=self.n_cases,
            reliability=self.reliability,
            regions=self.regions,
        )

    def _gather(self) -> bool:
        """Join what all processes have; True where the report is to be written."""
        if not distributed.is_initialized():
            return True
        parts: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, ([getattr(self, name) for name in self._tables], self._pictures))
        for number, name in enumerate(self._tables):
            joined: list[dict[str, Any]] = []
            for tables, _ in parts:
                # a sampler that gives every process equally many repeats some samples
                before = {row["id"] for row in joined}
                joined += [row for row in tables[number] if row["id"] not in before]
            setattr(self, name, joined)
        self._pictures = {name: entry for _, pictures in parts for name, entry in pictures.items()}
        return distributed.get_rank() == 0


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (torch.Tensor, np.generic)) else value
