"""JSON of strangers: cut, of another kind, nested without end, at every place where the package reads such a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.resume_check import run_record
from ckdmed.bundle.trained import recorded_settings
from ckdmed.checked_entries import unsealed
from ckdmed.cli.overwriting import is_datalist
from ckdmed.data.brats.cases import _decathlon_order
from ckdmed.data.brats.datalist import read_brats_datalist
from ckdmed.data.brats.slice_index import read_slice_table
from ckdmed.data.datalist import read_datalist
from ckdmed.data.image_files import find_inputs
from ckdmed.data.input_walk import is_run_folder
from ckdmed.data.manifest import read_manifest
from ckdmed.data.phantoms.files import check_settings
from ckdmed.data.sections import resolve_datalist
from ckdmed.data.slice_datalist import read_slice_datalist
from ckdmed.export.configs import read_object
from ckdmed.json_files import JsonFileError, parse_json, read_json, read_json_lines
from ckdmed.preparation.run import _foreign
from ckdmed.reports import RunRecord
from ckdmed.reports.curves import read_history
from ckdmed.sections.record import SectionRecord

DEEP = '{"training":' + "[" * 200_000
# what Python's parser may still take, and what walks through it does not
NESTED = '{"settings":' + "[" * 400 + "]" * 400 + "}"


def test_a_value_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, None, {"b": "ä"}], "c": [[[]]] * 3}
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n[2]\n', encoding="utf-8")
    assert read_json_lines(tmp_path / "a.jsonl") == [{"a": 1}, [2]]
    assert parse_json("[" * 100 + "]" * 100, "text")
    with pytest.raises(JsonFileError, match="^text: not JSON .* nested more than 100 levels deep"):
        parse_json("[" * 101 + "]" * 101, "text")


@pytest.mark.parametrize("content", [DEEP.encode(), NESTED.encode(), b'{"a": ', b"\xff\xfe", b"", b"1" * 9999])
def test_whatever_is_wrong_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(JsonFileError, match=f"^{path}: not JSON"):
        read_json(path)
    with pytest.raises(JsonFileError, match=f"^{tmp_path}: cannot be read"):
        read_json(tmp_path)


DOORS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "datalist of slices": ("datalist.json", read_datalist),
    "datalist of a folder": ("datalist.json", resolve_datalist),
    "datalist of images": ("datalist.json", read_slice_datalist),
    "datalist of cases": ("brats.json", read_brats_datalist),
    "datalist for inference": ("inputs.json", lambda path: find_inputs(path, section="training")),
    "run record": ("record.json", RunRecord.read),
    "history": ("metrics.jsonl", lambda path: _twice(path, read_history)),
    "settings of a run that is resumed": ("settings.json", lambda path: _with_weights(path, run_record)),
    "settings of a checkpoint": ("settings.json", lambda path: recorded_settings(path.parent / "models" / "model.pt")),
    "sections of a training": ("sections.json", SectionRecord.read),
    "metadata of a bundle": ("metadata.json", read_object),
    "manifest": ("manifest.json", read_manifest),
    "phantoms": ("phantoms.json", lambda path: check_settings(path.parent, {}, ("cases", 1))),
    "slice cache": ("slices.json", lambda path: read_slice_table(path.parent)),
    "sealed table": ("layout.json", unsealed),
    "Decathlon": ("dataset.json", _decathlon_order),
}


def _twice(path: Path, read: Callable[[Path], Any]) -> Any:
    # a last line may be cut off
    path.write_text(2 * (path.read_text(encoding="utf-8") + "\n"), encoding="utf-8")
    return read(path)


def _with_weights(path: Path, read: Callable[[Path], Any]) -> Any:
    (path.parent / "models").mkdir()
    (path.parent / "models" / "model.pt").touch()
    return read(path.parent)


@pytest.mark.parametrize("content", [DEEP, NESTED], ids=["deep", "nested"])
@pytest.mark.parametrize("door", DOORS)
def test_json_without_end_is_an_error_with_its_name_at_every_door(door: str, content: str, tmp_path: Path) -> None:
    name, read = DOORS[door]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{path}.*nested more than 100 levels deep"):
        read(path)


def test_records_that_only_tell_what_a_folder_is_do_not_end_the_search(tmp_path: Path) -> None:
    for name in ("settings.json", "prepared.json", "a.lock"):
        (tmp_path / name).write_text(DEEP, encoding="utf-8")
    assert not is_run_folder(tmp_path)
    # no more is known than that somebody's folder is there: it is not replaced
    assert _foreign(tmp_path) == "it holds a.lock but no prepared.json that names it"
    assert not is_datalist(tmp_path / "settings.json")
    with pytest.raises(ValueError, match="contains nothing that can be read. 3 files not used"):
        find_inputs(tmp_path)
