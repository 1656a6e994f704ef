"""The test files that come with pydicom and nibabel, most of them no picture of a brain: each is done or named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydicom.data import get_testdata_files

from ckdmed.cli import main
from ckdmed.data.volume_reader import read_volume
from ckdmed.networks import segmentation_student
from tests.bundle.bundle_runs import completed, opened
from tests.reliability.sandbox import outcomes

# by default some of them, of all kinds
SOME = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])


def strangers(every: int) -> list[Path]:
    dicom = {Path(name) for name in get_testdata_files()}
    nifti = Path(nibabel.__file__).parent.rglob("data/*")
    files = sorted(path for path in {*dicom, *nifti} if path.is_file() and path.suffix != ".py")
    assert len(files) > 200
    return files[::every]


def finished(work: Callable[[], str], seconds: float) -> str:
    """What ``work()`` gives in a child that must neither die nor hang."""
    outcome = outcomes(lambda _: work(), [0], seconds)[0]
    assert outcome.kind == "value", outcome
    return outcome.text


@SOME
@pytest.mark.bundle
def test_inference(every: int, tmp_path: Path):
    # in a folder each, so that none is taken for a slice of another's series
    for number, file in enumerate(strangers(every)):
        place = tmp_path / "in" / f"{number:03d}" / file.name
        place.parent.mkdir(parents=True)
        shutil.copy(file, place)
    network = segmentation_student(kind="unet", in_channels=1, out_channels=1, base=2)
    torch.save(network.state_dict(), tmp_path / "tiny.pt")

    def work() -> str:
        try:
            completed(
                opened(
                    "seg_kd",
                    "inference.json",
                    dataset_dir=str(tmp_path / "in"),
                    output_dir=str(tmp_path / "out"),
                    checkpoint=str(tmp_path / "tiny.pt"),
                    image_size=32,
                    student_kind="unet",
                    student_base=2,
                    tta=False,
                    device=torch.device("cpu"),
                )
            )
        except SystemExit as end:
            return str(end.code)
        return "0"

    assert finished(work, 300) == "3"
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    done = [file for result in report["results"] for file in result["input"]]
    skipped = [entry["file"] for entry in report["skipped"]]
    there = {str(path) for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert done and set(done) | set(skipped) <= there and not set(done) & set(skipped)
    assert len(done) + len(skipped) + report["counts"]["ignored"] == len(there)
    assert all(entry["file"] in entry["cause"] for entry in report["skipped"])
    for result in report["results"]:
        assert all((tmp_path / "out" / name).stat().st_size for name in result["outputs"])


@SOME
def test_prepare(every: int, tmp_path: Path):
    files = strangers(every)
    for number, file in enumerate(files):
        case = f"c{number:03d}"
        suffix = next((suffix for suffix in (".nii", ".nii.gz") if file.name.endswith(suffix)), None)
        place = tmp_path / "in" / case / (f"{case}_t1{suffix}" if suffix else f"t1/{file.name}")
        place.parent.mkdir(parents=True)
        shutil.copy(file, place)
    words = ["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-picture", "--keep-spacing"]

    def work() -> str:
        with (tmp_path / "printed.txt").open("w", encoding="utf-8") as stream, redirect_stdout(stream):
            return str(main([*words, "--quiet"]))

    assert finished(work, 300) == "1"
    printed = (tmp_path / "printed.txt").read_text(encoding="utf-8")
    cases = dict(re.findall(r"^(?:prepared|refused|skipped) +(c\d+): (.+)$", printed, re.MULTILINE))
    prepared = re.findall(r"^prepared +(c\d+)", printed, re.MULTILINE)
    unused = sum(int(number) for number in re.findall(r"^(\d+) files? not used", printed, re.MULTILINE))
    assert prepared and len(cases) + unused == len(files), printed[-2000:]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(prepared)
    assert all(case in cause for case, cause in cases.items() if case not in prepared), cases


def test_nibabels_voxels():
    """Its own NIfTI files, wherever both read."""
    equal = []
    for path in strangers(1):
        if path.name.endswith((".nii", ".nii.gz")):
            try:
                volume, _ = read_volume(path)
            except ValueError as error:
                assert str(path) in str(error)
                continue
            image = nibabel.load(path)
            assert np.array_equal(volume, image.get_fdata(dtype=np.float32)), path.name
            equal.append(path.name)
    assert len(equal) > 4, equal
