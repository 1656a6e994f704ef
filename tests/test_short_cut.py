"""What the intensities of a slice tell of its tumour, before and after the classification's preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirst, LoadImage
from scipy.stats import rankdata

from ckdmed.data import FigshareMatReader
from ckdmed.data.sections import resolve_datalist
from ckdmed.transforms import classification_scaling

GLIOMA = 2


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of pairs in order, equal scores counting half."""
    count = positive.sum()
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


@pytest.fixture(scope="module")
def slices(figshare_mat_dir: Path) -> tuple[list, np.ndarray]:
    datalist = resolve_datalist(figshare_mat_dir, progress=False)
    items = [item for name in ("training", "validation", "test") for item in datalist[name]][::4]
    load = Compose([LoadImage(reader=FigshareMatReader("image")), EnsureChannelFirst()])
    return [load(str(figshare_mat_dir / item["image"])) for item in items], np.array([i["tumor_label"] for i in items])


def maxima(images: list, scaling: str | None, size: int = 64) -> np.ndarray:
    if scaling is not None:
        chain = classification_scaling(scaling, size)
        images = [chain({"image": image})["image"] for image in images]
    return np.array([float(image.max()) for image in images])


@pytest.fixture(scope="module")
def glioma(slices: tuple[list, np.ndarray]) -> np.ndarray:
    return slices[1] == GLIOMA


def test_the_raw_maximum_gives_gliomas_away(slices: tuple[list, np.ndarray], glioma: np.ndarray):
    assert auc(maxima(slices[0], None), glioma) > 0.9


def test_the_networks_input_no_longer_carries_it(slices: tuple[list, np.ndarray], glioma: np.ndarray):
    values = maxima(slices[0], "percentiles")
    assert auc(values, glioma) == pytest.approx(0.5, abs=0.02)
    assert values.min() > 0.999 and values.max() == 1.0


def test_the_reports_scaling_leaves_a_trace_of_another_kind(slices: tuple[list, np.ndarray], glioma: np.ndarray):
    # averaging to the network's size lowers a lone bright pixel: the maximum tells gliomas again, from below
    assert auc(maxima(slices[0], "report"), glioma) < 0.3
