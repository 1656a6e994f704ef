"""What counts as somebody's work among results, and what as damage."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from skimage.io import imsave

from ckdmed.data.written_files import checksum, edited_note, is_whole_file, remove_outdated
from tests.dicom_results.mr_series import write_mr_series

VALUES = np.random.default_rng(0).integers(0, 255, (20, 20, 4)).astype(np.uint8)


def write(path: Path) -> Path:
    if path.name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(VALUES, np.eye(4)), path)
    elif path.suffix == ".png":
        imsave(path, VALUES[..., 0], check_contrast=False)
    elif path.suffix == ".npy":
        np.save(path, VALUES)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["label"] = VALUES
    elif path.suffix == ".dcm":
        path.write_bytes(write_mr_series(path.parent / "mr", VALUES[..., :1])[0].read_bytes())
    else:
        path.write_text("case,volume_ml\na,1.00\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.png", "a.npy", "a.h5", "a.dcm", "a.csv", "a.tfm"])
def test_a_file_that_can_be_read_is_whole(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert is_whole_file(path)
    content = path.read_bytes()
    # what only opens with its own kind, and what is empty
    for damaged in (b"", *([] if path.suffix in (".csv", ".tfm") else [content[:100], b"\0" * len(content)])):
        path.write_bytes(damaged)
        assert not is_whole_file(path)
    path.unlink()
    assert not is_whole_file(path)


def test_what_was_changed_is_named_and_what_was_not_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    stated = {"a.png": checksum(path), "gone.png": [1, 2]}
    assert edited_note(stated, tmp_path) == ""
    assert edited_note({"a.png": [1, 2]}, tmp_path) == (
        f"{path}: was changed after it was written, and is kept; move it away to have it made again."
    )
    for none in (None, [], "a.png"):
        assert edited_note(none, tmp_path) == ""


def test_of_an_earlier_result_only_unchanged_files_are_removed(tmp_path):
    files = [write(tmp_path / name) for name in ("a_mask.png", "a_WT_mask.png", "a_ET_mask.png")]
    written = {path.name: checksum(path) for path in files}
    imsave(files[2], VALUES[..., 1], check_contrast=False)
    remove_outdated(written, ["a_mask.png"], tmp_path)
    assert [path.exists() for path in files] == [True, False, True]
    remove_outdated(None, [], tmp_path)
    outside = write(tmp_path / "other.png")
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="not inside the output folder"):
        remove_outdated({"../other.png": checksum(outside)}, [], tmp_path / "out")
    assert outside.exists()
