"""Finding inputs in files, folders and datalists that nobody has checked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ckdmed.data.image_files import find_inputs
from tests.data.dicom_phantom import write_series

VOLUME = np.arange(4 * 4 * 3, dtype=np.int16).reshape(4, 4, 3)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(found) -> list[str]:
    return [item.name for item in found.items]


def test_folder(tmp_path):
    root = tmp_path / "data"
    touch(root / "10.mat", root / "2.mat", root / "a" / "2.mat", root / "a" / "b.nii.gz", root / "a" / "p.JPG")
    touch(root / "cvind.mat", root / "._2.mat", root / ".git" / "x.png", root / "README.md", root / "DICOMDIR")
    found = find_inputs(root)
    assert names(found) == ["2", "10", "a/2", "a/b", "a/p"]
    assert [item.files for item in found.items][0] == (root / "2.mat",)
    assert found.skipped == []
    assert found.unused.counts == {"hidden": 2, "of other types, or masks": 3}
    assert {path.name for path in found.unused.some} == {"cvind.mat", "README.md", "DICOMDIR", "._2.mat", ".git"}


def test_masks_and_the_results_of_an_earlier_run_are_no_images(tmp_path):
    root = tmp_path / "data"
    touch(root / "P1_t1.NII.GZ", root / "P1_segmentation.nii.gz", root / "p-mask.png", root / "a" / "brain.png")
    touch(root / "masks" / "P1_overlay.png", root / "masks" / "deeper" / "x.png")
    origin = {"command": [], "settings": {}, "versions": {}}
    (root / "masks" / "settings.json").write_text(json.dumps(origin), encoding="utf-8")
    found = find_inputs(root)
    assert names(found) == ["P1_t1", "a/brain"]
    assert found.unused.total == 5 and root / "masks" in found.unused.some
    # whoever names the folder itself means it, and a settings.json of others is none of a run
    assert names(find_inputs(root / "masks")) == ["P1_overlay", "deeper/x"]
    (root / "masks").rename(root / "b")
    (root / "b" / "settings.json").write_text("[1]", encoding="utf-8")
    assert "b/P1_overlay" in names(find_inputs(root))


@pytest.mark.parametrize("folder", ["masks", "x_Seg", "labels/P1", "brain masks"])
def test_masks_in_a_folder_of_their_own_are_no_images(tmp_path, folder):
    # both are called alike, as in the layout of docs/own_data.md
    touch(tmp_path / "images" / "1.png", tmp_path / folder / "1.png", tmp_path / folder / "2.nii.gz")
    write_series(tmp_path / folder / "series", VOLUME)
    found = find_inputs(tmp_path)
    # what a DICOM file is its header tells
    assert set(names(found)) == {"images/1", f"{folder}/series"}
    assert found.unused.counts == {"in a folder of masks, by its name": 2}
    assert "2" in names(find_inputs(tmp_path / folder))


def test_the_output_folder_is_passed_over(tmp_path):
    touch(tmp_path / "1.png", tmp_path / "out" / "1_mask.png")
    assert names(find_inputs(tmp_path, exclude=tmp_path / "out")) == ["1"]


def test_links(tmp_path):
    touch(tmp_path / "elsewhere" / "1.mat", tmp_path / "data" / "2.mat")
    (tmp_path / "data" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "3.mat").symlink_to(tmp_path / "elsewhere" / "1.mat")
    (tmp_path / "data" / "4.mat").symlink_to(tmp_path / "nowhere.mat")
    os.mkfifo(tmp_path / "data" / "5.mat")
    # a broken link is an input, so that its absence is reported; a pipe, which would block, is none
    found = find_inputs(tmp_path / "data")
    assert names(found) == ["2", "3", "4", "folder/1"]
    assert found.unused.total == 1 and found.unused.some == [tmp_path / "data" / "5.mat"]


def test_links_in_a_circle_end(tmp_path):
    touch(tmp_path / "data" / "a" / "1.mat")
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "data" / "a")
    assert names(find_inputs(tmp_path / "data")) == ["a/1"]


def test_dicom_in_folders(tmp_path):
    root = tmp_path / "study"
    write_series(root / "one", VOLUME, uid="1.2.3")
    write_series(root / "two", VOLUME, uid="1.2.4", number=3, names="a{}.dcm")
    write_series(root / "two", VOLUME, uid="1.2.5", number=4, names="b{}")
    (root / "one" / "broken.dcm").write_bytes(b"no DICOM")
    found = find_inputs(root)
    assert names(found) == ["one", "two_series3", "two_series4"]
    assert [len(item.files) for item in found.items] == [3, 3, 3]
    assert [entry.path.name for entry in found.skipped] == ["broken.dcm"]
    assert "not a DICOM image" in found.skipped[0].reason


def test_a_series_folder_by_itself_and_single_files(tmp_path):
    files = write_series(tmp_path / "t1w", VOLUME)
    assert names(find_inputs(tmp_path / "t1w")) == ["t1w"]
    assert names(find_inputs(files[1])) == ["slice01"]
    for n, uid in enumerate(("1.2.7", "1.2.8")):
        write_series(tmp_path / "mixed", VOLUME[..., :1], uid=uid, names=f"p{n}.dcm")
    assert names(find_inputs(tmp_path / "mixed")) == ["p0", "p1"]


def test_a_series_has_the_whole_name_of_its_folder(tmp_path):
    write_series(tmp_path / "study/1.2.840.5", VOLUME)
    assert names(find_inputs(tmp_path)) == ["study/1.2.840.5"] and names(find_inputs(tmp_path / "study")) == [
        "1.2.840.5"
    ]
    for n, uid in enumerate(("1.2.7", "1.2.8")):
        write_series(tmp_path / "Lee.A", VOLUME, uid=uid, number=n + 3, names=f"{n}-{{:02d}}.dcm")
    assert names(find_inputs(tmp_path / "Lee.A")) == ["Lee.A_series3", "Lee.A_series4"]


def test_a_file_of_the_series_folders_name(tmp_path):
    write_series(tmp_path / "x" / "t1w", VOLUME)
    touch(tmp_path / "x" / "t1w.png")
    found = names(find_inputs(tmp_path / "x"))
    assert len(set(found)) == 2 and all("t1w" in name for name in found)


def test_datalist(tmp_path):
    write_series(tmp_path / "series", VOLUME)
    touch(tmp_path / "a" / "1.mat", tmp_path / "b" / "1.mat", tmp_path / "c.nii.gz")
    entries = [{"image": "a/1.mat", "label": "x"}, "./b/1.mat", {"image": "c.nii.gz"}, {"image": "series"}, "a/1.mat"]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"test": entries, "training": ["c.nii.gz"]}))
    assert names(find_inputs(path)) == ["a/1", "b/1", "c", "series"]
    assert names(find_inputs(path, section="training")) == ["c"]
    path.write_text(json.dumps({"test": [{"image": [f"series/slice{n:02d}.dcm" for n in range(3)]}]}))
    found = find_inputs(path)
    assert names(found) == ["series"] and len(found.items[0].files) == 3


def test_inputs_of_several_files_in_one_folder(tmp_path):
    files = [f"images/{patient}_{sequence}.png" for patient in "abc" for sequence in ("t1", "flair")]
    touch(*(tmp_path / file for file in files), tmp_path / "a_t1.png", tmp_path / "a_flair.png")
    path = tmp_path / "datalist.json"
    lists = [files[0:2], files[2:4], files[4:6], files[2:4], [files[2], files[5]], ["a_t1.png", "a_flair.png"]]
    path.write_text(json.dumps({"test": [*({"image": one} for one in lists), "a_t1.png"]}))
    found = find_inputs(path)
    given = [tuple(tmp_path / file for file in one) for one in ([*lists[:3], *lists[4:], ["a_t1.png"]])]
    assert [item.files for item in found.items] == given
    assert names(found)[:3:2] == ["images/a_t1", "images/c_t1"] and len(set(names(found))) == 6


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("../secret.mat", "leaves the datalist's folder"),
        ("a/../../secret.mat", "leaves the datalist's folder"),
        ("/etc/passwd", "leaves the datalist's folder"),
        ("C:\\secret.mat", "leaves the datalist's folder"),
        ("..\\secret.mat", "leaves the datalist's folder"),
        ("a\0.mat", "leaves the datalist's folder"),
        ("absent.mat", "absent.mat: no such file"),
        ({"label": "1.mat"}, "must be a path"),
        ({"image": 3}, "must be a path"),
        ({"image": []}, "must be a path"),
        ({"image": ["1.mat", "../x"]}, "leaves the datalist's folder"),
        (None, "must be a path"),
    ],
)
def test_bad_entries_are_skipped_by_name(tmp_path, entry, cause):
    touch(tmp_path / "secret.mat", tmp_path / "set" / "1.mat")
    path = tmp_path / "set" / "datalist.json"
    path.write_text(json.dumps({"test": ["1.mat", entry]}))
    found = find_inputs(path)
    assert names(found) == ["1"]
    assert len(found.skipped) == 1
    assert cause in found.skipped[0].reason and "test[1]" in found.skipped[0].reason


@pytest.mark.parametrize("text", ["no JSON", "[" * 100000, "3", '{"training": []}', '{"test": 3}'])
def test_bad_datalists(tmp_path, text):
    (tmp_path / "datalist.json").write_text(text)
    with pytest.raises(ValueError, match="datalist.json: (not JSON|there is no section 'test')"):
        find_inputs(tmp_path / "datalist.json")


def test_nothing_to_read(tmp_path):
    touch(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="contains nothing that can be read. 1 file not used, of other types"):
        find_inputs(tmp_path)
    with pytest.raises(ValueError, match="a.txt: its type cannot be read"):
        find_inputs(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no such file or folder"):
        find_inputs(tmp_path / "b")
