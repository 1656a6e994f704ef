"""Corruptions of stated severities, to see what a trained network stands."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import AdjustContrast, MapTransform, RandBiasField, RandRicianNoise, RandSimulateLowResolution
from monai.utils import convert_data_type, convert_to_dst_type

__all__ = ["CORRUPTIONS", "Corruptiond", "parse_corruption"]

#: Kind -> what the severities 1, 2 and 3 are.
CORRUPTIONS: Mapping[str, tuple[float, float, float]] = {
    "low_resolution": (2.0, 3.0, 4.0),
    "noise": (0.1, 0.2, 0.4),
    "bias_field": (0.2, 0.4, 0.6),
    "missing_field": (0.1, 0.2, 0.3),
    "brighter": (0.85, 0.7, 0.5),
    "darker": (1.2, 1.5, 2.0),
}


def parse_corruption(text: str) -> tuple[str, int]:
    """Kind and severity of "noise-2".

    Raises:
        ValueError: another form, kind or severity; lists the kinds.
    """
    kind, _, severity = text.rpartition("-")
    if kind not in CORRUPTIONS or severity not in ("1", "2", "3"):
        raise ValueError(
            f"a corruption must be a kind ({', '.join(CORRUPTIONS)}) with a severity of 1 to 3, such as noise-2; got "
            f"{text!r}."
        )
    return kind, int(severity)


class Corruptiond(MapTransform):
    """Make an image worse, the same image always in the same way.

    ==============  ===================================================================================
    kind            what happens, and the severities 1, 2 and 3
    ==============  ===================================================================================
    low_resolution  averaged over pixels 2, 3 or 4 times as long and brought back linearly
    noise           Rician noise of 0.1, 0.2 or 0.4 of the channel's deviation
    bias_field      multiplied with the exponential of a polynomial of degree 3 with coefficients 0.2, 0.4 or 0.6
    missing_field   the last 10, 20 or 30 % of the last axis are 0, as if not scanned: columns; of volumes, slices
    brighter        gamma of 0.85, 0.7 or 0.5 between the channel's least and largest value
    darker          gamma of 1.2, 1.5 or 2
    ==============  ===================================================================================

    What is 0 stays 0, so that the brain of a skull-stripped image is still told by it. The transforms are those of
    MONAI; their random numbers follow from the item's ``id``, else from the names of its files.

    Args:
        keys: of the images, channel first.
        corruption: such as "noise-2".

    Shape: ``[C, *S]`` to the same, float32.

    Raises:
        ValueError: as `parse_corruption`.
    """

    def __init__(self, keys: KeysCollection, corruption: str) -> None:
        super().__init__(keys)
        self.kind, severity = parse_corruption(corruption)
        self.value = CORRUPTIONS[self.kind][severity - 1]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            plain: torch.Tensor = convert_data_type(image, torch.Tensor, dtype=torch.float32)[0]
            x = plain.as_subclass(torch.Tensor)  # type: ignore[arg-type]
            # MONAI's noise is added in place
            changed = torch.as_tensor(self._changed(x.clone(), _seed(data, image))).as_subclass(torch.Tensor)
            d[key] = convert_to_dst_type(torch.where(x == 0, 0.0, changed.float()), dst=image, dtype=torch.float32)[0]
        return d

    def _changed(self, x: torch.Tensor, seed: int) -> Any:
        if self.kind == "missing_field":
            x[..., x.shape[-1] - round(self.value * x.shape[-1]) :] = 0
            return x
        if self.kind in ("brighter", "darker"):
            gamma = AdjustContrast(self.value)
            return torch.stack([torch.as_tensor(gamma(channel)) for channel in x])
        made: Any
        if self.kind == "low_resolution":
            upsample = "bilinear" if x.dim() == 3 else "trilinear"
            zoom = 1 / self.value
            # averages, as larger pixels of a scanner are
            modes: dict[str, Any] = {"downsample_mode": "area", "upsample_mode": upsample}
            made = RandSimulateLowResolution(prob=1.0, zoom_range=(zoom, zoom), **modes)
        elif self.kind == "noise":
            made = RandRicianNoise(prob=1.0, std=self.value, channel_wise=True, relative=True, sample_std=False)
        else:
            made = RandBiasField(prob=1.0, degree=3, coeff_range=(self.value, self.value))
        return made.set_random_state(seed=seed)(x)


def _seed(data: Mapping[Hashable, Any], image: Any) -> int:
    named = data.get("id") or getattr(image, "meta", {}).get("filename_or_obj", "")
    names = [named] if isinstance(named, (str, PurePath)) else list(np.ravel(np.asarray(named, dtype=object)))
    return zlib.crc32("|".join(PurePath(str(name)).name for name in names).encode())
