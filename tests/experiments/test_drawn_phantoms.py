"""Phantoms of an experiment are those of its datalist, however many are asked for later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckdmed.experiments.cases import case_phantoms
from ckdmed.experiments.slices import slice_phantoms


def slices(folder: Path, number: int) -> Path:
    return slice_phantoms(folder, number, 32)


def cases(folder: Path, number: int) -> Path:
    return case_phantoms(folder, number, (24, 24, 16), 0, (0.6, 0.2, 0.2))


@pytest.mark.parametrize(("draw", "option"), [(slices, "--phantom_patients"), (cases, "--phantom_cases")])
def test_another_number_of_phantoms_is_refused_and_none_is_drawn(
    tmp_path: Path, draw: Callable[[Path, int], Path], option: str
) -> None:
    folder = draw(tmp_path / "phantoms", 6)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for number in (5, 7):
        with pytest.raises(ValueError, match=f"phantoms: holds 6 phantoms .* give {option} 6, or another --output_dir"):
            draw(folder, number)
    assert draw(folder, 6) == folder
    assert before.keys() == set(folder.rglob("*"))


def test_phantoms_that_were_not_all_drawn_are_completed(tmp_path: Path) -> None:
    """A killed command leaves no datalist."""
    folder = slices(tmp_path / "phantoms", 6)
    (folder / "datalist.json").unlink()
    slices(folder, 7)
    assert (folder / "datalist.json").is_file()
