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


def test_a_grid_may_have_gaps(tmp_path):
    cells = {(1, 0.5): [0.5, 0.7], (2, 0.5): [0.6], (1, 1.0): [0.4]}
    path = plot_sweep_grid(cells, ("temperature", "w_logit"), "Dice", tmp_path / "x.png")
    kept = {"score": "Dice", "names": ["temperature", "w_logit"]}
    assert read_values(path) == {**kept, "cells": [["1", "0.5", [0.5, 0.7]], ["2", "0.5", [0.6]], ["1", "1.0", [0.4]]]}
    with pytest.raises(ValueError, match="nothing to draw: a grid needs combinations with runs"):
        plot_sweep_grid({}, ("a", "b"), "Dice", tmp_path / "y.png")
