from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckdmed.reports import gradcam, plot_confusion, plot_gradcam


@pytest.mark.parametrize("names", [["meningioma", "glioma", "pituitary tumour"], ["0", "1", "2"]])
def test_no_word_of_a_confusion_matrix_is_cut(tmp_path: Path, names: list[str]):
    path = plot_confusion([[30, 2, 1], [3, 50, 4], [1, 1, 40]], tmp_path / "m.png", names)
    picture = np.asarray(Image.open(path).convert("L"))
    for edge in (picture[:, :2], picture[:, -2:], picture[:2], picture[-2:]):
        assert edge.min() == 255


def test_an_empty_map_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(gradcam, "save_figure", lambda figure, path: drawn.append(figure))
    half = np.stack([np.zeros((8, 8)), np.ones((8, 8))])
    plot_gradcam([np.eye(8), np.eye(8)], {"teacher": half}, tmp_path / "g.png")
    texts = [[text.get_text() for text in axes.texts] for axes in drawn[0].axes]
    assert [bool(said) for said in texts[:4]] == [False, True, False, False]
    assert texts[1][0].startswith("empty map")
