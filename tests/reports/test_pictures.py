from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from ckdmed.reports import (
    best_and_worst,
    plot_best_and_worst,
    plot_classified,
    plot_confusion,
    plot_curves,
    plot_predictions,
    read_history,
    style,
)
from ckdmed.reports.predictions import draw_outlined
from tests.reports.pixels import pixels_of

RNG = np.random.default_rng(0)
IMAGE = RNG.random((32, 32))
MASK = np.pad(np.ones((10, 10), bool), 11)


def test_both_outlines_are_drawn_and_only_where_there_is_a_mask(tmp_path):
    empty = np.zeros_like(MASK)
    drawn = {}
    for name, truth, prediction in (
        ("both", MASK, np.roll(MASK, 4, 0)),
        ("truth", MASK, empty),
        ("none", empty, empty),
    ):
        path = plot_predictions([IMAGE], [truth], [prediction], tmp_path / f"{name}.png")
        drawn[name] = (pixels_of(path, style.TRUTH), pixels_of(path, style.PREDICTION))
    # the lines of the legend are there in any case
    assert drawn["truth"][0] > drawn["none"][0] + 100 and drawn["truth"][1] == drawn["none"][1]
    assert drawn["both"][1] > drawn["none"][1] + 100


def test_the_legend_names_student_and_teacher_where_both_are_drawn(monkeypatch):
    kept = {}
    monkeypatch.setattr("ckdmed.reports.predictions.save_figure", lambda figure, path: kept.update({path: figure}))
    plot_predictions([IMAGE], [MASK], [MASK], "alone")
    plot_predictions([IMAGE], [MASK], [MASK], "both", teachers=[MASK])
    keys = {path: [text.get_text() for text in figure.legends[0].get_texts()] for path, figure in kept.items()}
    assert keys == {"alone": ["truth", "prediction"], "both": ["truth", "student", "teacher"]}
    with pytest.raises(ValueError, match="give one entry per image"):
        plot_predictions([IMAGE], [MASK], [MASK], "x.png", teachers=[])


def test_no_truth_has_no_truth_in_the_legend(tmp_path):
    assert pixels_of(plot_predictions([IMAGE], None, [MASK], tmp_path / "x.png"), style.TRUTH) == 0


def outline(mask):
    axes = style.new_figure(2, 2).subplots()
    draw_outlined(axes, np.zeros(mask.shape), None, mask)
    return np.concatenate([path.vertices for path in axes.collections[0].get_paths()])


def test_outline_runs_along_the_pixel_borders_and_closes_at_the_image_border():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 5:8] = True  # rows 1-3, columns 5-7; 7 is the last
    x, y = outline(mask).T
    assert (x.min(), x.max(), y.min(), y.max()) == (4.5, 7.5, 0.5, 3.5)


def test_upright(tmp_path):
    """Row 0 is at the top: a bright top half stays at the top."""
    image = np.zeros((32, 32))
    image[:16] = 1
    picture = imread(plot_predictions([image], None, [np.zeros((32, 32))], tmp_path / "x.png"))[..., 0]
    rows = picture[:, picture.shape[1] // 2]
    dark = np.flatnonzero(rows < 0.1)
    assert dark.size and dark.min() > 0.4 * len(rows) and (rows[: dark.min() - 10] > 0.9).all()


def test_tensors_channels_titles_scores_and_a_part_filled_grid(tmp_path):
    images = [torch.rand(4, 32, 32, requires_grad=True) for _ in range(5)]
    masks = [torch.from_numpy(MASK)[None].float()] * 5
    path = plot_predictions(
        images, masks, masks, tmp_path / "x.png", ["a"] * 5, [1, 0.5, 0, math.nan, 1], columns=3, title="grid"
    )
    height, width = imread(path).shape[:2]
    assert width > 600 and height > 450


def test_best_and_worst_share_none_and_leave_out_the_undefined():
    assert best_and_worst([0.1, 0.9, math.nan, 0.5, 0.7, 0.2], 2) == ([1, 4], [0, 5])
    assert best_and_worst([0.1, 0.9, 0.5], 4) == ([1, 2], [0])
    assert best_and_worst([0.5, 0.5, 0.5, 0.5], 1) == ([0], [1])
    assert best_and_worst([math.nan]) == ([], [])


def test_best_and_worst_picture(tmp_path):
    path = plot_best_and_worst([IMAGE] * 3, [MASK] * 3, [MASK] * 3, [0.2, 0.9, 0.5], tmp_path / "x.png", n=2)
    assert pixels_of(path, style.PREDICTION) > 300
    with pytest.raises(ValueError, match="no slice has a defined score"):
        plot_best_and_worst([IMAGE], [MASK], [MASK], [math.nan], tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()


@pytest.mark.parametrize(
    ("images", "truths", "message"),
    [
        ([], [], "nothing to draw"),
        ([IMAGE, IMAGE], [MASK], "there are 2 images"),
        ([IMAGE], [MASK[:9]], r"mask has shape \(9, 32\), its image \(32, 32\)"),
        ([np.zeros((2, 3, 4, 5))], [MASK], "must be"),
        ([np.full((32, 32), np.nan)], [MASK], "not finite"),
    ],
)
def test_picture_errors(tmp_path, images, truths, message):
    with pytest.raises(ValueError, match=message):
        plot_predictions(images, truths, truths, tmp_path / "x.png")


HISTORY = [
    {"epoch": 1, "train": {"loss": 2.0, "kd": 1.0}, "val_mean_dice": None, "lr": 0.1},
    {"epoch": 2, "train": {"loss": 1.0, "kd": 0.01}, "val_mean_dice": 0.5, "lr": 0.1},
    {"epoch": 2, "train": {"loss": 0.9, "kd": 0.02}, "val_mean_dice": 0.6, "lr": 0.1},
]


def captured(monkeypatch):
    kept = {}
    monkeypatch.setattr("ckdmed.reports.curves.save_figure", lambda figure, path: kept.update(figure=figure) or path)
    return kept


def test_curves_choose_columns_and_let_the_later_row_count(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    plot_curves(HISTORY, tmp_path / "x.png")
    left, right = kept["figure"].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in left.lines}
    assert lines == {"train/loss": [[1, 2.0], [2, 0.9]], "train/kd": [[1, 1.0], [2, 0.02]]}
    assert left.get_yscale() == "log" and right.get_yscale() == "linear"
    assert right.lines[0].get_label() == "val_mean_dice  (best 0.6 at 2)"
    assert right.lines[0].get_xydata().tolist() == [[2, 0.6]]


def test_curves_of_the_rows_that_training_writes(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    row = {"epoch": 1, "iteration": 9, "loss": 0.5, "terms": {"kd": 0.2}, "weights": {"kd_loss": 0.9}, "seconds": 1.0}
    plot_curves([row | {"learning_rate": 0.1, "metrics": {"val_dice": 0.4, "hd95": math.nan}}], tmp_path / "x.png")
    names = [[line.get_label() for line in axes.lines] for axes in kept["figure"].axes]
    assert names[0] == ["loss", "terms/kd"] and names[1][0].startswith("metrics/val_dice")
    # the ring around the best point is the other line of the right panel
    assert len(names[1]) == 2


def test_curves_draw_what_is_named(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    plot_curves(HISTORY, tmp_path / "x.png", losses=["lr"], metrics=[])
    (left,) = kept["figure"].axes
    assert [line.get_label() for line in left.lines] == ["lr"]


def test_curves_from_a_file_that_was_cut_off(tmp_path):
    source = tmp_path / "history.jsonl"
    source.write_text("\n".join(map(json.dumps, HISTORY)) + '\n{"epoch": 3, "tra')
    with pytest.warns(UserWarning, match="line 4 is cut off"):
        path = plot_curves(source, tmp_path / "x.png", title="run")
    assert pixels_of(path, style.CYCLE[0]) > 50


def test_damaged_history_names_the_line(tmp_path):
    source = tmp_path / "history.jsonl"
    source.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match=r"history.jsonl: line 2: not JSON"):
        read_history(source)
    source.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1 must hold an object, got list"):
        read_history(source)


@pytest.mark.parametrize(
    ("rows", "kwargs", "message"),
    [
        ([], {}, "no rows"),
        ([{"loss": 1.0}], {}, "needs the number 'epoch'"),
        ([{"epoch": 1, "loss": 1.0}], {"metrics": ["dice"]}, "no numbers under 'dice'; it has loss"),
        ([{"epoch": 1, "lr": 1.0}], {}, "nothing to draw"),
    ],
)
def test_curve_errors(tmp_path, rows, kwargs, message):
    with pytest.raises(ValueError, match=message):
        plot_curves(rows, tmp_path / "x.png", **kwargs)


def test_confusion_writes_count_and_share(tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr("ckdmed.reports.confusion.save_figure", lambda figure, path: kept.update(figure=figure) or path)
    plot_confusion([[3, 1], [0, 0]], tmp_path / "x.png", ["a", "b"], title="t")
    axes = kept["figure"].axes[0]
    texts = {t.get_position(): t.get_text() for t in axes.texts}
    assert texts == {(0, 0): "3\n75%", (1, 0): "1\n25%", (0, 1): "0", (1, 1): "0"}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a\n(n = 4)", "b\n(n = 0)"]


def test_confusion_is_written_and_errors(tmp_path):
    path = plot_confusion(np.eye(3, dtype=int) * 5, tmp_path / "x.png")
    assert imread(path).ndim == 3
    with pytest.raises(ValueError, match=r"must be square and hold counts, got shape \(1, 2\)"):
        plot_confusion([[1, 2]], path)
    with pytest.raises(ValueError, match="2 class names for a matrix of 3"):
        plot_confusion(np.eye(3), path, ["a", "b"])


def test_classified_marks_what_is_wrong(tmp_path, monkeypatch):
    kept = {}
    save = "ckdmed.reports.classified.save_figure"
    monkeypatch.setattr(save, lambda figure, path: kept.update(figure=figure) or path)
    plot_classified([IMAGE] * 3, [0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], ["a", "b"], "x.png", ["p", "q", "r"])
    axes = kept["figure"].axes
    assert [a.get_title() for a in axes] == ["p\na 0.90", "q\na 0.60", "r\nb 0.70"]
    assert [a.get_xlabel() for a in axes] == ["truth: a", "truth: b", "truth: b"]
    assert [a.spines["left"].get_visible() for a in axes] == [False, True, False]
    (key,) = kept["figure"].legends
    assert [text.get_text() for text in key.get_texts()] == ["framed: another class than the truth"]


def test_classified_names_student_and_teacher(monkeypatch):
    kept = {}
    monkeypatch.setattr("ckdmed.reports.classified.save_figure", lambda figure, path: kept.update(figure=figure))
    plot_classified([IMAGE], [0], [[0.9, 0.1]], ["a", "b"], "x.png", ["p"], teacher_probabilities=[[0.2, 0.8]])
    (axes,) = kept["figure"].axes
    assert (axes.get_title(), axes.get_xlabel()) == ("p\nstudent: a 0.90", "truth: a\nteacher: b 0.80")
    with pytest.raises(ValueError, match=r"teacher's probabilities have shape \(2, 2\), not \(1, 2\)"):
        plot_classified([IMAGE], [0], [[0.9, 0.1]], ["a", "b"], "x.png", teacher_probabilities=np.ones((2, 2)))


def test_classified_is_written_and_errors(tmp_path):
    path = plot_classified([IMAGE] * 5, None, np.full((5, 2), 0.5), ["a", "b"], tmp_path / "x.png", title="t")
    assert pixels_of(path, style.BAD) == 0
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_classified([], None, np.zeros((0, 2)), ["a", "b"], path)
    with pytest.raises(ValueError, match=r"1 images and 2 class names, but probabilities of shape \(1, 3\)"):
        plot_classified([IMAGE], None, np.zeros((1, 3)), ["a", "b"], path)
    with pytest.raises(ValueError, match=r"from 0 to 1, got \[2\]"):
        plot_classified([IMAGE], [2], np.zeros((1, 2)), ["a", "b"], path)
