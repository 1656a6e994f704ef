from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ckdmed.metrics import paired_difference
from ckdmed.reports import RunRecord, forest, plot_forest, read_values, save_figure, style
from ckdmed.reports.forest import _draw
from tests.reports.pixels import pixels_of

METRIC = "Dice per patient"


def records(arm: str, *runs: tuple[float, float]) -> list[RunRecord]:
    """One run for each pair of patients' scores."""
    return [
        RunRecord(
            f"{arm}-{seed}",
            arm,
            ["c"],
            seed,
            {"section": "test"},
            {METRIC: float(np.mean(scores))},
            patients={METRIC: dict(zip("ab", scores))},
        )
        for seed, scores in enumerate(runs)
    ]


BASE = records("alone", (0.5, 0.6), (0.5, 0.6))


def test_the_numbers_that_are_drawn_by_hand(tmp_path):
    ours = records("ours", (0.7, 0.7), (0.6, 0.8))
    path = plot_forest({"all": BASE + ours}, METRIC, "alone", tmp_path / "x.png", {"ours": "mine"})
    patients, seeds = read_values(path)["all"]["mine"]
    # patient a: +0.15, patient b: +0.15; both runs: +0.15
    assert patients == [0.15, 0.15, 0.15] and seeds == [0.15, 0.15, 0.15]
    unequal = records("ours", (0.7, 0.6), (0.6, 0.6))
    patients, seeds = read_values(plot_forest({"all": BASE + unequal}, METRIC, "alone", tmp_path / "y.png"))["all"][
        "ours"
    ]
    # a: +0.15, b: 0; runs: +0.1 and +0.05, whose t interval with one degree of freedom is 12.706 standard errors wide
    assert patients[0] == seeds[0] == 0.075 and patients[1:] == [0, 0.15]
    assert seeds[1:] == pytest.approx([0.075 - 12.7062 * 0.025, 0.075 + 12.7062 * 0.025], abs=1e-4)


def test_color_says_what_both_intervals_say(tmp_path):
    better, worse = records("ours", (0.7, 0.9), (0.7, 0.9)), records("ours", (0.3, 0.3), (0.3, 0.3))
    by_chance = records("ours", (0.9, 0.99), (0.51, 0.61))
    drawn = {
        name: plot_forest({"": BASE + own}, METRIC, "alone", tmp_path / f"{name}.png")
        for name, own in (("better", better), ("worse", worse), ("chance", by_chance))
    }
    gain, loss = (
        {name: pixels_of(path, color) for name, path in drawn.items()} for color in (style.CYCLE[0], style.BAD)
    )
    # the legend has a dot of each color
    assert gain["better"] > gain["worse"] + 50 and abs(gain["worse"] - gain["chance"]) < 20
    assert loss["worse"] > loss["better"] + 50 and abs(loss["better"] - loss["chance"]) < 20


def test_one_run_has_no_interval_over_seeds_and_panels_may_lack_arms(tmp_path):
    one = BASE[:1] + records("ours", (0.7, 0.6))
    two = BASE + records("other", (0.5, 0.6), (0.5, 0.6))
    got = read_values(plot_forest({"one": one, "two": two}, METRIC, "alone", tmp_path / "x.png"))
    assert got["one"]["ours"][1] == [0.1, None, None] and list(got["two"]) == ["other"]
    assert got["two"]["other"] == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("limits", "arrows"), [((-1, 1), []), ((-0.1, 1), ["<"]), ((-1, 0.1), [">"]), ((-0.1, 0.1), ["<", ">"])]
)
def test_an_interval_over_seeds_that_leaves_the_panel_ends_in_an_arrow(limits, arrows):
    patients = paired_difference({"a": 0.02, "b": 0.04}, {"a": 0.0, "b": 0.0})
    seeds = paired_difference({0: 0.01, 1: 0.05}, {0: 0.0, 1: 0.0}, method="t")
    assert seeds.low < -0.1 and seeds.high > 0.1
    axes = style.new_figure(2, 2).subplots()
    _draw(axes, 0, patients, seeds, limits)
    assert [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")] == arrows
    line = axes.lines[0].get_xdata()
    assert list(line) == [max(seeds.low, limits[0]), min(seeds.high, limits[1])]


@pytest.mark.parametrize(
    ("seeds", "folds", "over"),
    [((0, 1), (0,), "seeds"), ((0,), (0, 1), "folds"), ((0, 1), (0, 1), "seeds and folds"), ((0,), (0,), "seeds")],
)
def test_the_legend_names_what_the_runs_differ_in(seeds, folds, over, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(forest, "save_figure", lambda figure, path, metadata: drawn.append(figure) or path)
    runs = [
        replace(record, seed=seed, split={**record.split, "fold": fold})
        for arm, score in (("alone", 0.5), ("ours", 0.6))
        for record in records(arm, (score, score))
        for seed in seeds
        for fold in folds
    ]
    plot_forest({"all": runs}, METRIC, "alone", tmp_path / "x.png")
    words = [text.get_text() for legend in drawn[0].legends for text in legend.get_texts()]
    assert words[:2] == ["95% over patients", f"95% over {over}"]


def test_another_picture_keeps_no_numbers(tmp_path):
    figure = style.new_figure(1, 1)
    with pytest.raises(ValueError, match="x.png holds no numbers"):
        read_values(save_figure(figure, tmp_path / "x.png"))


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no panel has an arm beside the baseline 'alone'"):
        plot_forest({"all": BASE}, METRIC, "alone", tmp_path / "x.png")
    undefined = records("ours", (math.nan, math.nan), (math.nan, math.nan))
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_forest({"all": BASE + undefined}, METRIC, "alone", tmp_path / "x.png")
    apart = BASE[:1] + records("ours", (0.5, 0.5), (0.5, 0.5))[1:]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_forest({"all": apart}, METRIC, "alone", tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
