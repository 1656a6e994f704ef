"""Folds do not take the place of the sections that a user's own datalist lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle import figshare_sections
from ckdmed.data.datalist import DATALIST_NAME, build_figshare_datalist, write_datalist
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.sections.classification import figshare_classes


def items_of(folder: Path) -> list[dict[str, str]]:
    for number in range(9):
        Image.fromarray(np.full((4, 4), 9 + number, np.uint8)).save(folder / f"{number}.png")
    return [
        {"image": f"{n}.png", "label": f"{n}.png", "class": "ab"[n % 2], "patient": f"Patient {n}"} for n in range(9)
    ]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"validation": slice(7, 8), "test": slice(8, 9)}, "'validation' and 'test'"),
        ({"validation": slice(7, 9)}, "'validation'"),
        ({"test": slice(7, 9)}, "'test'"),
    ],
)
def test_a_patient_listed_for_the_test_is_in_no_fold(tmp_path: Path, sections: dict[str, slice], told: str) -> None:
    """A fold put patients of the user's own test section into training, without a word."""
    items = items_of(tmp_path)
    stored = tmp_path / DATALIST_NAME
    stored.write_text(json.dumps({"training": items[:7], **{name: items[part] for name, part in sections.items()}}))
    said = re.escape(f"fold 0 would train on patients whom {stored} lists under {told}, since")
    for source in (stored, tmp_path):
        with pytest.raises(ValueError, match=said):
            figshare_sections(str(source), "none", fold=0, n_folds=3)
        for way in ("group", "slices"):
            with pytest.raises(ValueError, match=said):
                figshare_classes(str(source), "none", ["a", "b"], fold=0, n_folds=3, fold_source=way)
    # without a fold the sections are those of the list
    assert figshare_sections(str(stored), "none")["train"]


def test_folds_of_what_is_listed_for_training(tmp_path: Path) -> None:
    stored = tmp_path / DATALIST_NAME
    stored.write_text(json.dumps({"training": items_of(tmp_path), "validation": [], "test": []}))
    runs = [figshare_sections(str(stored), "none", fold=fold, n_folds=3) for fold in range(3)]
    assert sorted(item["patient"] for run in runs for item in run["test"]) == [f"Patient {n}" for n in range(9)]
    assert figshare_classes(str(stored), "none", ["a", "b"], fold=0, n_folds=3)["test"]


@pytest.mark.parametrize("folds", [None, 3])
def test_folds_of_figshare_slices_stay(tmp_path: Path, folds: int | None) -> None:
    write_figshare_phantoms(tmp_path, 8, (2, 2), 32, seed=0)
    write_datalist(build_figshare_datalist(tmp_path, folds=folds)[0], tmp_path / DATALIST_NAME)
    runs = [figshare_sections(str(tmp_path), "none", fold=fold, n_folds=3) for fold in range(3)]
    assert len({item["id"] for run in runs for item in run["test"]}) == 16
