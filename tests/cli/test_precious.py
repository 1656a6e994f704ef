"""Commands over folders with files of the user's: every one of these has the same hash afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from skimage.io import imsave

from ckdmed import cli

AFFINE = np.diag([-1.0, -1, 1, 1])
SHAPE = (16, 18, 12)
PARTS = ("t1n", "t1c", "t2w", "t2f", "seg")
CASES = ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000")


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@contextmanager
def kept(root: Path) -> Iterator[None]:
    before = hashes(root)
    assert before
    yield
    after = hashes(root)
    assert {name: after.get(name) for name in before} == before


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases, each with a file that no command knows, beside a folder of the user's."""
    rng = np.random.default_rng(0)
    for case in CASES:
        folder = tmp_path / "data" / case
        folder.mkdir(parents=True)
        for part in PARTS:
            volume = np.zeros(SHAPE, np.int16)
            volume[3:-3, 3:-3, 2:-2] = rng.integers(1, 4 if part == "seg" else 200, (10, 12, 8))
            nib.save(nib.Nifti1Image(volume, AFFINE), folder / f"{case}-{part}.nii.gz")
        (folder / "report.txt").write_text(f"precious {case}")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("precious")
    return tmp_path / "data"


@pytest.fixture
def datalist(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "lists" / "datalist.json"
    options = ["--fractions", "0.5", "0.5", "0", "--quiet", "--out", str(path)]
    assert cli.main(["brats-datalist", str(data), *options]) == 0
    return path


def prepare(data: Path, out: Path | str, *options: str) -> int:
    plain = ["--format", "npy", "--no-picture", "--quiet", "--modalities", "t1c"]
    return cli.main(["prepare", str(data), "--out", str(out), *plain, *options])


def cut(datalist: Path, data: Path, out: Path | str) -> int:
    return cli.main(["slice-cache", str(datalist), "--base-dir", str(data), "--out", str(out), "--quiet"])


def test_the_sources_are_no_place_for_results(data, datalist, tmp_path, capsys):
    (tmp_path / "link").symlink_to(data)
    with kept(tmp_path):
        for out in (data, tmp_path / "link", data / CASES[0], data / CASES[0] / "out", data / "x" / ".."):
            assert prepare(data, out) == 2
            assert cut(datalist, data, out) == 2
            assert "give another --output_dir" in capsys.readouterr().err
    assert not (data / CASES[0] / "out").exists()


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_place_that_cannot_be_written_to_is_named(data, tmp_path, monkeypatch, capsys, place):
    """The system's words were shown, and the name of a temporary file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    access = os.access
    # who runs the tests may be allowed everything
    monkeypatch.setattr("os.access", lambda path, mode: access(path, mode) and Path(path) != tmp_path / "folder")
    words = [str(data), "--quiet", "--out", f"{tmp_path / place}/new.json"]
    for command in ("prepare", "brats-datalist"):
        with kept(tmp_path):
            assert cli.main([command, *words]) == 2
        said = capsys.readouterr().err
        assert f"error: '{tmp_path / place}' " in said and "Errno" not in said and ".writing-" not in said
        assert {"prepare": "give another --output_dir", "brats-datalist": "name a file elsewhere"}[command] in said


@pytest.mark.parametrize("content", ["thesis.txt", "prepared.json", "slices.json"])
def test_a_folder_of_a_cases_name_that_is_not_ours_stays(data, datalist, tmp_path, capsys, content):
    out = tmp_path / "out"
    (out / CASES[0]).mkdir(parents=True)
    (out / CASES[0] / content).write_text('{"settings": "mine"}')
    for command in (lambda: prepare(data, out), lambda: cut(datalist, data, out)):
        with kept(tmp_path):
            assert command() == 1
        said = capsys.readouterr().out
        assert f"{CASES[0]} is not replaced" in said and "Move it elsewhere" in said
        assert sorted(os.listdir(out)) == list(CASES)
        shutil.rmtree(out / CASES[1])


def test_files_of_the_users_in_our_own_folders_stay(data, datalist, tmp_path, capsys):
    assert prepare(data, tmp_path / "p") == 0
    assert cut(datalist, data, tmp_path / "c") == 0
    for folder in ("p", "c"):
        (tmp_path / folder / CASES[0] / "notes.txt").write_text("precious")
    os.utime(data / CASES[0] / f"{CASES[0]}-t1c.nii.gz", ns=(5, 5))
    with kept(tmp_path):
        assert prepare(data, tmp_path / "p") == 1
        assert cut(datalist, data, tmp_path / "c") == 1
    assert capsys.readouterr().out.count("it holds notes.txt") == 2


@pytest.mark.parametrize("form", ["nifti", "npy", "hdf5", "png"])
def test_what_somebody_corrected_in_a_prepared_case_stays(data, tmp_path, capsys, form):
    options = ("--format", form)
    assert prepare(data, tmp_path / "p", *options) == 0
    case = tmp_path / "p" / CASES[0]
    places = {"nifti": "*-seg.nii.gz", "npy": "label.npy", "hdf5": "*.h5", "png": "seg/*.png"}
    corrected = sorted(case.glob(places[form]))[0]
    if form == "nifti":
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), corrected)
    elif form == "npy":
        np.save(corrected, np.ones(SHAPE, np.uint8))
    elif form == "hdf5":
        with h5py.File(corrected, "r+") as file:
            file["label"][:] = 1
    else:
        imsave(corrected, np.ones((9, 9), np.uint8), check_contrast=False)
    # the originals are others now
    os.utime(data / CASES[0] / f"{CASES[0]}-t1c.nii.gz", ns=(5, 5))
    capsys.readouterr()
    with kept(tmp_path):
        assert prepare(data, tmp_path / "p", *options) == 1
    name = corrected.relative_to(case).as_posix()
    assert (
        f"{CASES[0]} is not replaced: it holds {name}, which was changed after it was written"
        in capsys.readouterr().out
    )


def test_results_within_the_given_folder_are_no_inputs(data, tmp_path, capsys):
    assert prepare(data, data / "prepared", "--format", "nifti") == 0
    assert prepare(data, data / "prepared", "--format", "nifti") == 0
    said = capsys.readouterr().out
    assert said.count("kept") == 2 and "twice" not in said and "2 cases, 0 of them" in said


@pytest.mark.parametrize("case", ["../precious", "..", ".", "*", "{tmp}/precious", "", "a/b"])
def test_a_case_of_a_datalist_leads_nowhere(data, datalist, tmp_path, capsys, case):
    content = json.loads(datalist.read_text())
    content["training"][0]["case"] = case.format(tmp=tmp_path)
    datalist.write_text(json.dumps(content))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("precious")
    with kept(tmp_path):
        assert cut(datalist, data, tmp_path / "c") == 2
    assert "training[0]: the case" in capsys.readouterr().err
    assert os.listdir(tmp_path / "c") == ["mine.txt"]


def test_one_case_in_two_sections_is_refused(data, datalist, tmp_path, capsys):
    content = json.loads(datalist.read_text())
    content["validation"][0]["case"] = content["training"][0]["case"]
    datalist.write_text(json.dumps(content))
    assert cut(datalist, data, tmp_path / "c") == 2
    said = capsys.readouterr().err
    assert "validation[0]: the case" in said and "is also used in training[0]" in said


def test_a_folder_called_dots_is_a_case_of_no_name(data, tmp_path, capsys):
    clinic = tmp_path / "clinic"
    clinic.mkdir()
    for name in ("..-t1.nii.gz", "...-t1.nii.gz", "*_t1.nii.gz", "P1_t1.nii.gz"):
        shutil.copy(data / CASES[0] / f"{CASES[0]}-t1n.nii.gz", clinic / name)
    out = tmp_path / "precious" / "out"
    (out / ".other.part-abcdefgh").mkdir(parents=True)
    with kept(tmp_path):
        assert cli.main(["prepare", str(clinic), "--out", str(out), "--no-picture", "--quiet"]) == 1
    assert sorted(os.listdir(out)) == [".other.part-abcdefgh", "P1"]
    assert "the case '*' cannot be the name of a folder" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["..", "../precious", "*"])
def test_the_option_case_is_checked(data, tmp_path, capsys, case):
    image = f"t1c={data / CASES[0] / f'{CASES[0]}-t1c.nii.gz'}"
    with kept(tmp_path):
        assert cli.main(["prepare", "--image", image, "--case", case, "--out", str(tmp_path / "out")]) == 2
        assert prepare(data / CASES[0], tmp_path / "out", "--case", case) == 2
    assert capsys.readouterr().err.count("cannot be the name") == 2


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 99)]
)
def test_what_was_damaged_is_made_again(data, datalist, tmp_path, capsys, damage: Callable[[Path], object]):
    assert prepare(data, tmp_path / "p") == 0
    assert cut(datalist, data, tmp_path / "c") == 0
    before = hashes(tmp_path / "p"), hashes(tmp_path / "c")
    for folder, case, name in (("p", 0, "image"), ("c", 0, "image"), ("c", 1, "label")):
        damage(tmp_path / folder / CASES[case] / f"{name}.npy")
    capsys.readouterr()
    assert prepare(data, tmp_path / "p") == 0
    assert cut(datalist, data, tmp_path / "c") == 0
    assert (hashes(tmp_path / "p"), hashes(tmp_path / "c")) == before
    said = capsys.readouterr().out
    assert "made again because image.npy" in said and f"kept      {CASES[1]}" in said


@pytest.mark.parametrize("command", [["brats-datalist"], ["datalist"]])
def test_a_datalist_is_replaced_only_when_asked_for(data, tmp_path, capsys, command):
    folder = data
    if command == ["datalist"]:
        folder = tmp_path / "mat"
        assert cli.main(["phantoms", "figshare", str(folder), "--patients", "6", "--size", "48", "--quiet"]) == 0
    options = [
        str(folder),
        "--quiet",
        "--fractions",
        *(["1", "0", "0"] if command != ["datalist"] else ["0.5", "0.5", "0"]),
    ]
    assert cli.main([*command, *options]) == 0
    with kept(tmp_path):
        assert cli.main([*command, *options, "--seed", "7"]) == 2
        assert "already exists; name another file, or replace it with --force" in capsys.readouterr().err
    assert cli.main([*command, *options, "--seed", "7", "--force"]) == 0
    assert json.loads((folder / "datalist.json").read_text())["seed"] == 7
    (tmp_path / "notes.json").write_text('{"mine": "precious"}')
    with kept(tmp_path):
        for place, message in ((tmp_path / "notes.json", "even with --force"), (tmp_path, "is a folder")):
            option = "--out" if command == ["brats-datalist"] else "--output"
            assert cli.main([*command, *options, option, str(place), "--force"]) == 2
            assert message in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["figshare", "brats"])
def test_phantoms_go_into_a_folder_of_their_own(data, tmp_path, capsys, layout):
    (tmp_path / "mat").mkdir()
    (tmp_path / "mat" / "cvind.mat").write_text("precious")
    with kept(tmp_path):
        for folder in (tmp_path / "mat", data):
            assert cli.main(["phantoms", layout, str(folder), "--quiet"]) == 2
            assert "no phantoms.json; phantoms go into a folder of their own" in capsys.readouterr().err
        preview = tmp_path / "precious" / "thesis.txt"
        assert cli.main(["phantoms", layout, str(tmp_path / "new"), "--preview", str(preview), "--quiet"]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["compare", "ablation", "unimodal", "table1"])
def test_a_table_in_a_file_of_the_users_is_refused_at_the_start(data, tmp_path, capsys, command):
    table = tmp_path / "precious" / "thesis.txt"
    with kept(tmp_path):
        assert cli.main([command, "--output_dir", str(tmp_path / "o"), "--table", str(table)]) == 2
    assert "already exists" in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_the_table_of_check_brats_is_no_file_of_the_users(data, tmp_path, capsys):
    csv = str(tmp_path / "precious" / "thesis.txt")
    with kept(tmp_path):
        assert cli.main(["check-brats", str(data), "--csv", csv, "--quiet"]) == 2
    assert "replace it with --force" in capsys.readouterr().err
