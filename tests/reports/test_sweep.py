from __future__ import annotations

import pytest

from ckdmed.reports import plot_sweep, plot_sweep_grid, read_values


def test_lines_keep_their_numbers(tmp_path):
    lines = {"temperature": {1: [0.5, 0.7], 8: [0.6]}, "scales": {"[null]": [0.5], "[null,1]": [0.4]}}
    path = plot_sweep(lines, "Dice", tmp_path / "x.png", [0.5, 0.52], "student alone")
    assert read_values(path) == {
        "score": "Dice",
        "lines": {"temperature": {"1": [0.5, 0.7], "8": [0.6]}, "scales": {"[null]": [0.5], "[null,1]": [0.4]}},
        "reference": [0.5, 0.52],
    }
    for nothing in ({}, {"temperature": {}}, {"temperature": {1: []}}):
        with pytest.raises(ValueError, match="nothing to draw: every setting of a sweep needs values with runs"):
            plot_sweep(nothing, "Dice", tmp_path / "y.png")


def test_a_line_joins_numbers_alone(tmp_path, monkeypatch):
    """It ran on to null, as if that stood behind the largest number."""
    drawn = []
    monkeypatch.setattr("ckdmed.reports.sweep.save_figure", lambda figure, path, metadata: drawn.append(figure))
    plot_sweep({"beta": {0.3: [0.5], 3: [0.7], "null": [0.6]}, "temperature": {1: [0.5], 4.0: [0.6]}}, "Dice", "x.png")
    mixed, numbers = drawn[0].axes
    joined = [[line for line in axes.lines if line.get_linestyle() == "-"] for axes in (mixed, numbers)]
    assert not joined[0] and len(joined[1]) == 1
    assert [label.get_text() for label in numbers.get_xticklabels()] == ["1", "4"]
    assert [label.get_text() for label in mixed.get_xticklabels()] == ["0.3", "3", "null"]


def test_a_grid_may_have_gaps(tmp_path):
    cells = {(1, 0.5): [0.5, 0.7], (2, 0.5): [0.6], (1, 1.0): [0.4]}
    path = plot_sweep_grid(cells, ("temperature", "w_logit"), "Dice", tmp_path / "x.png")
    kept = {"score": "Dice", "names": ["temperature", "w_logit"]}
    assert read_values(path) == {**kept, "cells": [["1", "0.5", [0.5, 0.7]], ["2", "0.5", [0.6]], ["1", "1.0", [0.4]]]}
    with pytest.raises(ValueError, match="nothing to draw: a grid needs combinations with runs"):
        plot_sweep_grid({}, ("a", "b"), "Dice", tmp_path / "y.png")
