from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ckdmed.reports import (
    classified,
    gradcam,
    plot_best_and_worst,
    plot_classified,
    plot_confusion,
    plot_gradcam,
    plot_predictions,
    predictions,
)


@pytest.mark.parametrize("names", [["meningioma", "glioma", "pituitary tumour"], ["0", "1", "2"]])
def test_no_word_of_a_confusion_matrix_is_cut(tmp_path: Path, names: list[str]):
    path = plot_confusion([[30, 2, 1], [3, 50, 4], [1, 1, 40]], tmp_path / "m.png", names)
    picture = np.asarray(Image.open(path).convert("L"))
    for edge in (picture[:, :2], picture[:, -2:], picture[:2], picture[-2:]):
        assert edge.min() == 255


def test_no_title_reaches_into_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    for module in (predictions, classified):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: drawn.append(figure))
    long = ["sub-0123456789_ses-before-treatment\nt1c, slice 12"] * 8
    masks = [np.eye(8, dtype=bool)] * 8
    plot_predictions([np.eye(8)] * 8, masks, masks, "p.png", long, [0.5] * 8, teachers=masks)
    plot_best_and_worst([np.eye(8)] * 8, masks, masks, [0.1 * n for n in range(8)], "b.png", long)
    plot_classified([np.eye(8)] * 8, [0] * 8, [[0.5, 0.5]] * 8, ["pituitary tumour", "b"], "c.png", long)
    for figure in drawn:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        whole = figure.bbox
        boxes = [axes.get_tightbbox(canvas.get_renderer()) for axes in figure.axes]
        boxes += [legend.get_window_extent() for legend in figure.legends]
        assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1 for box in boxes)
        overlaps = [first.overlaps(second) for first, second in itertools.combinations(boxes, 2)]
        assert len(boxes) == 9 and not any(overlaps)


def test_an_empty_map_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(gradcam, "save_figure", lambda figure, path: drawn.append(figure))
    half = np.stack([np.zeros((8, 8)), np.ones((8, 8))])
    plot_gradcam([np.eye(8), np.eye(8)], {"teacher": half}, tmp_path / "g.png")
    texts = [[text.get_text() for text in axes.texts] for axes in drawn[0].axes]
    assert [bool(said) for said in texts[:4]] == [False, True, False, False]
    assert texts[1][0].startswith("empty map")
