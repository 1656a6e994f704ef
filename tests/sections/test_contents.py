"""A resumed run notices other data behind the same names, wherever they lie."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.training_run import start_training
from ckdmed.sections.contents import CONTENTS_NAME, changed_contents, contents_of, write_contents

LARGE = 3 << 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("1.png", "1-mask.png", "2.png", "2-mask.png"):
        (folder / name).write_bytes(name.encode() * 9)
    return folder


def sections(folder: Path, **values: Any) -> dict[str, list[dict[str, Any]]]:
    items = [
        {
            "id": name,
            "patient": name,
            "patient_group": name,
            "image": str(folder / f"{name}.png"),
            "label": str(folder / f"{name}-mask.png"),
            "labelled": True,
            **values,
        }
        for name in ("1", "2")
    ]
    return {"train": items[:1], "validation": items[1:], "test": []}


@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("changed", ["2.png", "2-mask.png"])
def test_a_run_does_not_go_on_with_other_files_of_the_same_names(data: Path, tmp_path: Path, changed: str) -> None:
    """It did, in silence, for the patients are the same."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    start_training(sections(data), str(run), str(run / "models"))
    shutil.copytree(data, moved)
    start_training(sections(moved), str(run), str(run / "models"), resume=True)
    (moved / changed).write_bytes(b"another" * 6)
    before = (run / CONTENTS_NAME).read_bytes()
    with pytest.raises(
        RefusedStart, match="different data: the files of 1 item have other contents than .* .'2'.. Give"
    ):
        start_training(sections(moved), str(run), str(run / "models"), resume=True)
    assert (run / CONTENTS_NAME).read_bytes() == before


@pytest.mark.usefixtures("process_as_it_was")
def test_a_run_from_before_contents_were_noted_goes_on(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    start_training(sections(data), str(run), str(run / "models"))
    assert not caplog.text
    (run / CONTENTS_NAME).unlink()
    (run / "models" / "model.pt").touch()
    start_training(sections(data), str(run), str(run / "models"), resume=True)
    assert "no record of the contents of the run's data" in caplog.text and (run / CONTENTS_NAME).is_file()
    (run / CONTENTS_NAME).write_text("{}")
    with pytest.raises(RefusedStart, match="contents.json: not a record of .* move it away"):
        start_training(sections(data), str(run), str(run / "models"), resume=True)


def test_what_an_item_is_learned_as_counts_and_its_place_does_not(data: Path, tmp_path: Path) -> None:
    write_contents(contents_of(sections(data, label=0, release="2023")), tmp_path)
    assert changed_contents(contents_of(sections(data, label=0, release="2023", other=1)), tmp_path) == []
    for other in ({"label": 1, "release": "2023"}, {"label": 0, "release": "2024"}):
        assert changed_contents(contents_of(sections(data, **other)), tmp_path) == ["1", "2"]
    # a new item is told by the record of the sections
    assert changed_contents({"3": "abc"}, tmp_path) == []


def test_slices_of_one_case_are_one_item(data: Path) -> None:
    items = [{"case": "c", "id": f"c:{n}", "image": str(data / "1.png"), "slice": n, "label": n} for n in range(3)]
    found = contents_of({"train": items})
    assert list(found) == ["c"] and contents_of({"train": items[::-1]}) == found
    assert contents_of({"train": items[:2]}) != found


@pytest.mark.parametrize("place", [0, LARGE // 2, LARGE - 1])
def test_large_files_are_told_by_parts_and_compressed_ones_by_their_checksum(tmp_path: Path, place: int) -> None:
    plain, packed = tmp_path / "a.npy", tmp_path / "a.nii.gz"

    def marks(content: bytes, level: int) -> list[str]:
        plain.write_bytes(content)
        packed.write_bytes(gzip.compress(content, level))
        return [contents_of({"train": [{"id": "a", "image": [str(file)]}]})["a"] for file in (plain, packed)]

    content = bytearray(LARGE)
    before = marks(content, 1)
    assert marks(content, 2) == before
    content[place] = 1
    assert not set(marks(content, 1)) & set(before)
