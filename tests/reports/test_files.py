from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ckdmed.reports import save_figure, write_bytes, write_csv, write_json
from ckdmed.reports.style import new_figure


def test_json_holds_null_for_what_is_undefined(tmp_path):
    content = {"a": np.float32(0.5), "b": [np.nan, float("inf")], "c": np.arange(2), "d": (1, Path("x")), 3: {"e", "d"}}
    path = write_json(tmp_path / "deep" / "x.json", content)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [None, None], "c": [0, 1], "d": [1, "x"], "3": ["d", "e"]}


def test_csv_keeps_the_order_and_leaves_undefined_cells_empty(tmp_path):
    path = write_csv(tmp_path / "x.csv", [{"id": "1", "dice": 0.25}, {"id": "a,b", "dice": float("nan"), "new": True}])
    with open(path, newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["id", "dice", "new"], ["1", "0.25", ""], ["a,b", "", "True"]]


def test_floats_survive_csv(tmp_path):
    value = 0.1 + 0.2
    path = write_csv(tmp_path / "x.csv", [{"v": value}])
    assert float(path.read_text().splitlines()[1]) == value


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_only_a_temporary_name_is_written_to(tmp_path, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append((Path(a), Path(b))), replace(a, b)))
    write_bytes(tmp_path / "x.bin", b"abc")
    ((temporary, target),) = seen
    assert temporary.parent == target.parent and temporary != target
    assert target.read_bytes() == b"abc" and not temporary.exists()


def test_figure_must_be_png(tmp_path):
    with pytest.raises(ValueError, match="'x.jpg'; end it in .png"):
        save_figure(new_figure(1, 1), tmp_path / "x.jpg")
