"""The odd inputs that people met, made by a script that lies beside the real data, and what becomes of each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ckdmed import cli


@pytest.fixture(scope="session")
def quirks(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each odd input."""
    script = shared_data / "quirks" / "make_quirks.py"
    if not script.is_file():
        pytest.skip(f"real data absent: no {script}")
    pytest.importorskip("pydicom")
    folder = tmp_path_factory.mktemp("quirks")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def run(*words: object) -> int:
    """A command's exit status."""
    return cli.main([str(word) for word in words])


def prepared(quirk: str, quirks: Path, out: Path) -> dict[str, set[str]]:
    """Cases that `prepare` wrote, with their modalities."""
    run("prepare", quirks / quirk, "--out", out)
    found: dict[str, set[str]] = {}
    for path in sorted(out.rglob("*.nii.gz")):
        case, _, part = path.name.removesuffix(".nii.gz").rpartition("-")
        found.setdefault(case, set()).add(part)
    return found


def test_enhanced_frames_are_ordered_by_their_positions(quirks: Path, tmp_path: Path) -> None:
    (case,) = prepared("enh_interleaved", quirks, tmp_path / "out")
    volume = nib.load(tmp_path / "out" / case / f"{case}-t1n.nii.gz")
    # eight slices, 4 mm apart, resampled to 1 mm; columns of 1.2 and rows of 0.9 mm
    extent = np.abs(volume.affine[:3, :3] @ (np.array(volume.shape) - 1))
    assert extent[2] == pytest.approx(28, abs=3.5)
    data = np.asarray(volume.dataobj)
    means = [data[..., k].mean() for k in range(data.shape[2])]
    assert (
        np.all(np.diff(means) * np.sign(volume.affine[2, 2]) > 0)
        or np.corrcoef(means, np.arange(len(means)))[0, 1] > 0.9
    )


@pytest.mark.parametrize(
    ("quirk", "cause"),
    [
        ("enh_gap", r"gap|uneven|apart|spac"),
        ("enh_two_times", r"time|position|frame"),
        ("far", r"outside"),
        ("codes0", r"outside|code"),
        ("brain_empty", r"brain mask is empty"),
        ("no_position", r"[Pp]osition"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_cause(
    quirk: str, cause: str, quirks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not prepared(quirk, quirks, tmp_path / "out")
    told = capsys.readouterr().out
    assert re.search(cause, told) and re.search("^(refused|skipped)", told, re.MULTILINE), told


@pytest.mark.parametrize(
    ("quirk", "cases"),
    [
        ("two_patients", [{"t1n", "t1c"}, {"t2w", "t2f"}]),
        ("bids", [{"t1n", "t1c"}]),
        ("kinds", [{"t1n", "t1c", "t2w", "t2f", "seg"}, {"t1n"}, {"t1n"}]),
        ("dicomdir", [{"t1n"}]),
        ("links", [{"t1n", "t1c", "t2w", "t2f", "seg"}] * 2),
    ],
)
def test_every_patient_is_found_and_stays_one(quirk: str, cases: list[set[str]], quirks: Path, tmp_path: Path) -> None:
    found = [parts - {"brain"} for parts in prepared(quirk, quirks, tmp_path / "out").values()]
    assert sorted(map(sorted, found)) == sorted(map(sorted, cases))


@pytest.mark.parametrize("quirk", ["ped24", "gli124"])
def test_a_release_that_stays_open_is_asked_for(
    quirk: str, quirks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("brats-datalist", quirks / quirk, "--out", tmp_path / "datalist.json") != 0
    assert not (tmp_path / "datalist.json").exists()
    assert "--release" in capsys.readouterr().err
    assert run("prepare", quirks / quirk, "--out", tmp_path / "prepared") != 0
    assert not (tmp_path / "prepared").exists()
    assert "--release" in capsys.readouterr().err
    assert run("check-brats", quirks / quirk) == 2
    assert "--release" in capsys.readouterr().err


def test_the_release_that_is_given_counts(quirks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--fractions", 1, 0, 0, "--release")
    assert run("brats-datalist", quirks / "gli124", "--out", tmp_path / "gli.json", *words, 2021) == 0
    items = json.loads((tmp_path / "gli.json").read_text(encoding="utf-8"))["training"]
    assert {(item["release"], item["label_voxels"]["ET"]) for item in items} == {("2021", 392)}
    assert run("brats-datalist", quirks / "ped24", "--out", tmp_path / "ped.json", *words, 2024) == 2
    assert "no table covers them" in capsys.readouterr().err and not (tmp_path / "ped.json").exists()


def test_one_person_under_two_names_is_on_one_side(
    quirks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "datalist.json"
    if run("brats-datalist", quirks / "both", "--out", out, "--fractions", 0.5, 0.25, 0.25):
        assert re.search("same|release", capsys.readouterr().err) and not out.exists()
        return
    content = json.loads(out.read_text(encoding="utf-8"))
    persons = {
        name: {re.findall(r"0000(\d)", item["case"])[0] for item in content[name]}
        for name in ("training", "validation", "test")
    }
    assert not persons["training"] & (persons["validation"] | persons["test"])
    assert not persons["validation"] & persons["test"]
