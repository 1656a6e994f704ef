"""The full evaluation of whole cases with several regions, as BraTS scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils import CommonKeys, convert_to_numpy

from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.handlers.segmentation_evaluation import SegmentationEvaluation
from ckdmed.labels import REGIONS
from ckdmed.metrics import BRATS_2023_LESION_RULES, lesionwise_scores, segmentation_scores
from ckdmed.reports import RegionPicture, write_region_report
from ckdmed.reports.style import on_black

__all__ = ["RegionEvaluation"]

# On which image a region is best seen.
_SEEN_ON = {"WT": ("t2f", "t2w"), "TC": ("t1c",), "ET": ("t1c",)}


class RegionEvaluation(SegmentationEvaluation):
    """Score every case of an evaluator's run by region and write the report when it ends.

    For each region: Dice, HD95 and the other scores of ``segmentation_scores`` on the whole case, and beside them the
    lesion-wise Dice and HD95 of BraTS 2023 (``lesionwise_scores``) with the constants of the case's challenge. The two
    kinds have columns of their own. Written are the files of :func:`~ckdmed.reports.write_region_report`.

    The evaluator's postprocessing must have made ``pred`` a binary mask with a channel per region on the grid of
    ``label``, whose affine gives the voxel size. Where a run is spread over processes, each scores its own cases and
    rank 0 writes for all.

    Args:
        output_dir: of the files.
        regions: name of each output channel. Default TC, WT, ET.
        modalities: name of each channel of the image, by which the pictures choose what they show.
        type_key: key of the batch with the tumour type, which names the challenge.
        settings: noted in the summary: checkpoint, split, seed, command.
        n_cases: how many best and how many worst cases are drawn.

    Raises:
        ValueError: when run, if a case is of no known tumour type, or prediction and label differ in shape or are no
            volumes.

    Attach to the evaluator.
    """

    _tables = ("rows", "reliability", "lesions")

    def __init__(
        self,
        output_dir: str,
        regions: Sequence[str] = REGIONS,
        modalities: Sequence[str] = (),
        type_key: str = "tumour_type",
        settings: Mapping[str, Any] | None = None,
        n_cases: int = 3,
    ) -> None:
        super().__init__(output_dir, regions, type_key, None, settings, n_cases)
        self.modalities = tuple(modalities)

    def _start(self, _: Engine | None = None) -> None:
        super()._start(_)
        self.lesions: list[dict[str, Any]] = []

    def _score(self, who: dict[str, Any], sample: Any, output: Any, predicted: np.ndarray, truth: np.ndarray) -> None:
        kind = who["class"]
        if kind not in BRATS_2023_LESION_RULES:
            raise ValueError(
                f"{who['id']}: the tumour type {kind!r} has no challenge; one of "
                f"{', '.join(sorted(BRATS_2023_LESION_RULES))} is needed under {self.class_key!r}."
            )
        if predicted.ndim != 4 or len(predicted) != len(self.regions):
            raise ValueError(
                f"{who['id']}: a prediction of {len(self.regions)} regions ({', '.join(self.regions)}) must have one "
                f"channel per region and three axes, got shape {predicted.shape}."
            )
        affine, spacing = _affine(output), self._spacing(sample, output)
        dice = []
        for region, own, true in zip(self.regions, predicted, truth, strict=True):
            scores = segmentation_scores(own, true, spacing)
            of_lesions = lesionwise_scores(own, true, spacing, str(kind))
            lesions = of_lesions.pop("lesions")
            self.rows.append({**who, "region": region, **scores, **of_lesions})
            self.lesions += [
                {**who, "region": region, "lesion": number, **lesion} for number, lesion in enumerate(lesions, start=1)
            ]
            dice.append(scores["dice"])
        picture = self._picture(output[CommonKeys.IMAGE], predicted, truth, affine)
        self._keep(str(who["id"]), float(np.mean(dice)), picture)

    def _spacing(self, sample: Any, output: Any) -> list[float]:
        return [float(v) for v in affine_to_spacing(_affine(output))]

    def _picture(self, image: Any, predicted: np.ndarray, truth: np.ndarray, affine: np.ndarray) -> RegionPicture:
        """The axial slice with most tumour: of the truth, else of the prediction, else the middle one."""
        geometry = spatial_geometry("nifti", truth.shape[1:], affine, "axial")
        number = truth.shape[1 + geometry.axes[0]] // 2
        for mask in (truth, predicted):
            areas = np.count_nonzero(geometry.to_slices(np.any(mask, axis=0)), axis=(1, 2))
            if areas.any():
                number = int(areas.argmax())
                break

        def slice_of(volume: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(geometry.to_slices(volume)[number])

        values = torch.as_tensor(image).float().cpu().numpy()
        shown = {c: on_black(slice_of(values[c])) for c in {self._channel(region) for region in self.regions}}
        spacing = affine_to_spacing(affine)
        return RegionPicture(
            np.stack([shown[self._channel(region)] for region in self.regions]),
            np.stack([slice_of(mask) for mask in truth]),
            np.stack([slice_of(mask) for mask in predicted]),
            number,
            float(spacing[geometry.axes[1]] / spacing[geometry.axes[2]]),
        )

    def _channel(self, region: str) -> int:
        return next((self.modalities.index(m) for m in _SEEN_ON.get(region, ()) if m in self.modalities), 0)

    def _write(self, pictures: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        return write_region_report(
            self.rows,
            self.output_dir,
            settings=self.settings,
            pictures=pictures,
            lesions=self.lesions,
            regions=self.regions,
            n_cases=self.n_cases,
            reliability=self.reliability,
        )


def _affine(output: Any) -> np.ndarray:
    label = output[CommonKeys.LABEL]
    return np.asarray(convert_to_numpy(label.affine), dtype=np.float64) if isinstance(label, MetaTensor) else np.eye(4)
