from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from skimage.io import imread

from ckdmed import cli
from ckdmed.data.brats import find_brats_cases
from ckdmed.data.nifti_files import VolumeFileError
from ckdmed.file_hash import content_mark, content_mark_of_image
from ckdmed.preparation import PreparationSettings
from ckdmed.preparation import case as preparation_of_a_case
from ckdmed.preparation import find_inputs, prepare_cases, single_input
from ckdmed.preparation.registration import Registration
from ckdmed.preparation.registration_files import mask_in_original
from ckdmed.preparation.sequence_doubts import sequence_doubts
from tests.dicom_results.mr_series import write_mr_series

AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 19], [0, 0, 1, 0], [0, 0, 0, 1]])
PARTS = ("t1n", "t1c", "t2w", "t2f", "seg")
PLAIN = PreparationSettings(normalise="none", picture=False)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def brain(seed: int = 0) -> np.ndarray:
    image = np.zeros((16, 20, 12), np.int16)
    image[3:-3, 3:-3, 2:-2] = np.random.default_rng(seed).integers(10, 200, (10, 14, 8))
    return image


def mask() -> np.ndarray:
    label = np.zeros((16, 20, 12), np.uint8)
    label[5:11, 5:12, 4:8], label[6:10, 6:11, 5:7], label[7:9, 7:9, 5:7] = 2, 1, 3
    return label


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "data" / "BraTS-GLI-00001-000"
    for number, part in enumerate(PARTS):
        save(folder / f"{folder.name}-{part}.nii.gz", mask() if part == "seg" else brain(number))
    return folder


def run(inputs, out, settings=PLAIN, **kwargs):
    return prepare_cases(inputs, out, settings, progress=False, **kwargs)


def test_nifti_comes_out_as_a_brats_case(case, tmp_path):
    (result,) = run(find_inputs([case])[0], tmp_path / "out", PreparationSettings())
    assert result.status == "prepared" and "16 x 20 x 12 voxels of 1 x 1 x 1 mm" in result.message
    (found,), skipped = find_brats_cases(tmp_path / "out")
    assert not skipped and np.array_equal(found.affine, AFFINE)
    seg = nib.load(found.label)
    assert seg.get_data_dtype() == np.uint8 and np.array_equal(seg.dataobj, mask())
    image = nib.load(found.images[1])
    assert image.get_data_dtype() == np.float32
    inside = image.get_fdata()[brain() != 0]
    assert abs(inside.mean()) < 1e-5 and abs(inside.std() - 1) < 1e-5
    assert imread(tmp_path / "out" / case.name / "summary.png").ndim == 3
    record = json.loads((tmp_path / "out" / case.name / "prepared.json").read_text(encoding="utf-8"))
    assert record["modalities"] == list(PARTS[:4]) and record["tumour_voxels"] == int((mask() != 0).sum())


def test_hdf5_and_numpy_hold_the_same(case, tmp_path):
    inputs = find_inputs([case])[0]
    run(inputs, tmp_path / "h", PreparationSettings(format="hdf5", picture=False))
    run(inputs, tmp_path / "n", PreparationSettings(format="npy", picture=False))
    folder = tmp_path / "n" / case.name
    with h5py.File(tmp_path / "h" / case.name / f"{case.name}.h5") as file:
        assert file["image"].chunks == (4, 16, 20, 1) and file["label"].chunks == (16, 20, 1)
        for key in ("image", "label", "brain"):
            assert np.array_equal(file[key], np.load(folder / f"{key}.npy"))
        assert np.array_equal(file.attrs["affine"], np.load(folder / "affine.npy"))
        assert list(file.attrs["modalities"]) == list(PARTS[:4])


def test_png_of_a_chosen_size_with_what_slices_hold(case, tmp_path):
    settings = PreparationSettings(format="png", png_size=32, modalities=("t1c",), picture=False)
    run(find_inputs([case], ["t1c"])[0], tmp_path / "p", settings)
    folder = tmp_path / "p" / case.name
    assert sorted(os.listdir(folder)) == ["prepared.json", "seg", "slices.csv", "t1c"]
    assert sorted(os.listdir(folder / "t1c")) == [f"{n:03d}.png" for n in range(2, 10)]
    picture = imread(folder / "t1c" / "005.png")
    assert picture.shape == (32, 32) and picture.dtype == np.uint8 and picture.max() > 200
    assert set(np.unique(imread(folder / "seg" / "005.png"))) == {0, 1, 2, 3}
    with open(folder / "slices.csv", newline="") as stream:
        rows = {int(row["slice"]): row for row in csv.DictReader(stream)}
    assert [rows[n]["category_name"] for n in (2, 4, 5)] == ["no tumour", "oedema only", "enhancing"]
    assert rows[4]["tumour_pixels"] == "42" and rows[2]["brain_pixels"] == "140"


def test_png_without_a_size_is_upright(case, tmp_path):
    run(find_inputs([case])[0], tmp_path / "p", PreparationSettings(format="png", normalise="unit", picture=False))
    picture = imread(tmp_path / "p" / case.name / "seg" / "005.png")
    assert np.array_equal(picture, mask()[:, :, 5].T)


def test_a_mask_with_another_affine_is_refused_with_both(case, tmp_path):
    wrong = save(tmp_path / "wrong-seg.nii.gz", mask().astype(np.float64), np.eye(4))
    images = {m: case / f"{case.name}-{m}.nii.gz" for m in PARTS[:4]}
    (result,) = run([single_input(images, "x", wrong)], tmp_path / "out")
    assert result.status == "refused" and "wrong-seg.nii.gz" in result.message
    assert "affine [1 0 0 0; 0 1 0 0; 0 0 1 0; 0 0 0 1]" in result.message
    assert "affine [-1 0 0 0; 0 -1 0 19; 0 0 1 0; 0 0 0 1]" in result.message
    assert os.listdir(tmp_path / "out") == []


def test_the_rest_goes_on_and_a_second_run_keeps(case, tmp_path):
    good = find_inputs([case])[0][0]
    damaged = save(tmp_path / "b" / "P2_t1.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    damaged.write_bytes(damaged.read_bytes()[:5000])
    bad = find_inputs([tmp_path / "b"])[0]
    results = run([*bad, good], tmp_path / "out")
    assert [(r.case, r.status) for r in results] == [("P2", "refused"), (case.name, "prepared")]
    assert "P2_t1.nii.gz: truncated or damaged" in results[0].message
    assert os.listdir(tmp_path / "out") == [case.name]
    stamp = (tmp_path / "out" / case.name / "prepared.json").stat().st_mtime_ns
    assert run([good], tmp_path / "out")[0].status == "kept"
    assert (tmp_path / "out" / case.name / "prepared.json").stat().st_mtime_ns == stamp
    assert run([good], tmp_path / "out", PreparationSettings(normalise="unit", picture=False))[0].status == "prepared"
    os.utime(case / f"{case.name}-t1n.nii.gz", ns=(5, 5))
    assert run(find_inputs([case])[0], tmp_path / "out")[0].status == "prepared"


@pytest.mark.parametrize(
    "settings", [PLAIN, PreparationSettings(normalise="unit", picture=False)], ids=["same", "other"]
)
def test_a_mask_that_somebody_corrected_stays(case, tmp_path, settings):
    found = find_inputs([case])[0]
    run(found, tmp_path / "out")
    prepared = tmp_path / "out" / case.name / f"{case.name}-seg.nii.gz"
    image = nib.load(prepared)
    corrected = np.zeros(image.shape, np.uint8)
    nib.save(nib.Nifti1Image(corrected, image.affine), prepared)
    (result,) = run(found, tmp_path / "out", settings)
    assert result.status == "refused" and f"{prepared.name}, which was changed after it was written" in result.message
    assert not nib.load(prepared).get_fdata().any()
    # what cannot be read is no work of anybody's
    prepared.write_bytes(prepared.read_bytes()[:99])
    (result,) = run(found, tmp_path / "out", settings)
    assert result.status == "prepared" and nib.load(prepared).get_fdata().any()


def test_a_mask_goes_back_from_any_folder(case, tmp_path, monkeypatch):
    monkeypatch.chdir(case.parent)
    run(find_inputs([Path(case.name)])[0], tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "out" / case.name
    values, _, original = mask_in_original(prepared, prepared / f"{case.name}-seg.nii.gz", "t1c")
    assert np.array_equal(values, mask()) and original == case / f"{case.name}-t1c.nii.gz"


@pytest.mark.parametrize("before_marks", [False, True])
def test_a_mask_does_not_go_back_onto_another_image_in_the_place_of_its_own(case, tmp_path, before_marks):
    run(find_inputs([case])[0], tmp_path / "out")
    prepared = tmp_path / "out" / case.name
    if before_marks:
        record = json.loads((prepared / "prepared.json").read_text())
        del record["contents"]
        (prepared / "prepared.json").write_text(json.dumps(record))
    original = case / f"{case.name}-t1c.nii.gz"
    image = nib.load(original)
    turned = nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine, image.header)
    nib.save(turned, original)
    arguments = (prepared, prepared / f"{case.name}-seg.nii.gz")
    if before_marks:
        assert mask_in_original(*arguments, "t1c")[0].any()
        return
    with pytest.raises(VolumeFileError, match="replaced or changed since"):
        mask_in_original(*arguments, "t1c")
    # the others are what they were
    assert mask_in_original(*arguments, "t2f")[0].any()


def test_a_series_is_known_by_its_files_and_not_by_their_names(tmp_path):
    first = content_mark_of_image(save(tmp_path / "a/1.nii", brain()).parent)
    save(tmp_path / "a/2.nii", brain(1))
    both = content_mark_of_image(tmp_path / "a")
    assert first != both
    (tmp_path / "a/1.nii").rename(tmp_path / "a/3.nii")
    assert content_mark_of_image(tmp_path / "a") == both
    save(tmp_path / "a/2.nii", brain(2))
    assert content_mark_of_image(tmp_path / "a") != both
    assert content_mark_of_image(tmp_path / "a/2.nii") == content_mark(tmp_path / "a/2.nii")


@pytest.mark.parametrize("output", ["original", "mask"])
def test_what_a_mask_is_made_of_is_not_replaced_by_it(case, tmp_path, capsys, output):
    run(find_inputs([case])[0], tmp_path / "out")
    prepared = tmp_path / "out" / case.name
    files = {"original": case / f"{case.name}-t1c.nii.gz", "mask": prepared / f"{case.name}-seg.nii.gz"}
    before = files[output].read_bytes()
    arguments = [str(prepared), str(files["mask"]), "--modality", "t1c", "--output", str(files[output]), "--force"]
    assert cli.main(["restore-mask", *arguments]) == 2
    assert "it is not replaced even with --force" in capsys.readouterr().err
    assert files[output].read_bytes() == before


@pytest.mark.parametrize("option", [["--modalities", "t2f"], ["--mask-is", "label"]])
def test_options_that_choose_among_files_of_folders_are_not_ignored(case, tmp_path, capsys, option):
    image = f"t1c={case / case.name}-t1c.nii.gz"
    assert cli.main(["prepare", "--image", image, *option, "--output_dir", str(tmp_path / "out")]) == 2
    assert "leave them out with --image" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["spacing", "size"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0])
def test_a_grid_of_no_size_is_refused(case, tmp_path, name, value):
    settings = PreparationSettings(normalise="none", picture=False, **{name: (value, 1, 1)})
    (result,) = run(find_inputs([case])[0], tmp_path / "out", settings)
    assert result.status == "refused" and f"{name} must be three positive numbers" in result.message


def test_a_run_that_breaks_off_leaves_no_half_case(case, tmp_path, monkeypatch):
    from ckdmed.preparation import run as module

    def broken(*args):
        args[1].joinpath("half.nii.gz").write_bytes(b"x")
        raise KeyboardInterrupt

    inputs = find_inputs([case])[0]
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_volume", broken)
        with pytest.raises(KeyboardInterrupt):
            run(inputs, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
    # A process that is killed cannot clean up; the next run does.
    (tmp_path / "out" / f".{case.name}.part-killed").mkdir()
    assert run(inputs, tmp_path / "out")[0].status == "prepared"
    assert os.listdir(tmp_path / "out") == [case.name]


def test_clinical_names_with_grids_of_their_own(tmp_path):
    thick = AFFINE @ np.diag([1, 1, 3.0, 1])
    save(tmp_path / "d" / "P1_t1.nii.gz", brain())
    save(tmp_path / "d" / "P1_fla.nii.gz", brain()[:, :, ::3].copy(), thick)
    save(tmp_path / "d" / "P1_seg.nii.gz", mask()[:, :, ::3].copy(), thick)
    save(tmp_path / "d" / "notes-of-P1.nii.gz", brain())
    inputs, skipped = find_inputs([tmp_path / "d"])
    assert not skipped and list(inputs[0].images) == ["t1n", "t2f"] and inputs[0].label is not None
    (result,) = run(inputs, tmp_path / "o", PreparationSettings(format="npy", normalise="none", picture=False))
    assert result.status == "prepared"
    image = np.load(tmp_path / "o" / "P1" / "image.npy")
    assert image.shape == (2, 16, 20, 12)
    # Every third slice of FLAIR lies on one of T1's; between them it is interpolated.
    assert np.allclose(image[1][..., ::3], image[0][..., ::3], atol=1e-2)
    assert np.array_equal(np.load(tmp_path / "o" / "P1" / "label.npy")[..., ::3], mask()[..., ::3])


def test_a_missing_modality_is_told_by_name(case, tmp_path):
    (case / f"{case.name}-t2f.nii.gz").unlink()
    inputs, skipped = find_inputs([case])
    assert not inputs and "missing: t2f" in skipped[0].reason and skipped[0].case == case.name
    assert len(find_inputs([case], ["t1c"])[0]) == 1


@pytest.mark.parametrize("coregister", [False, True])
def test_a_case_without_the_reference_is_refused_and_the_rest_goes_on(tmp_path, coregister):
    for number, name in enumerate(("P1_t1", "P1_flair", "P2_t1", "P2_t1c", "P3_t1c")):
        save(tmp_path / "in" / f"{name}.nii.gz", brain(number if not coregister else 0))
    settings = PreparationSettings(normalise="none", picture=False, reference="t1c", coregister=coregister)
    results = {result.case: result for result in run(find_inputs([tmp_path / "in"])[0], tmp_path / "out", settings)}
    assert results["P1"].status == "refused" and "P1: lacks the reference t1c" in results["P1"].message
    assert "found: t1n, t2f" in results["P1"].message
    assert "lacks the reference" not in results["P2"].message and results["P3"].status == "prepared"


def write_series(folder: Path, shape=(12, 10, 6)) -> np.ndarray:
    folder.mkdir(parents=True)
    array = np.random.default_rng(1).integers(0, 500, shape[::-1]).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(shape[2]):
        image = sitk.GetImageFromArray(array[number : number + 1])
        image.SetSpacing((0.5, 0.5, 2.0))
        image.SetOrigin((0, 0, 2.0 * number))
        for tag, value in (
            ("0008|0060", "MR"),
            ("0020|000e", "1.2.3"),
            ("0020|0032", f"0\\0\\{2.0 * number}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0008|0018", f"1.2.3.{number}"),
        ):
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)
    return array


def test_dicom_series_in_a_folder_named_by_its_modality(tmp_path):
    array = write_series(tmp_path / "P7" / "t1w")
    write_series(tmp_path / "P7" / "scout")
    inputs, skipped = find_inputs([tmp_path / "P7"])
    assert [(i.case, list(i.images)) for i in inputs] == [("P7", ["t1n"])]
    assert "not named after a modality" in skipped[0].reason and "--image" in skipped[0].reason
    settings = PreparationSettings(format="npy", normalise="none", spacing=None, brain="nonzero")
    assert run(inputs, tmp_path / "o", settings)[0].status == "prepared"
    image = np.load(tmp_path / "o" / "P7" / "image.npy")
    assert np.array_equal(image[0], array.transpose(2, 1, 0))
    affine = np.load(tmp_path / "o" / "P7" / "affine.npy")
    assert np.allclose(affine[:3, :3], np.diag([-0.5, -0.5, 2.0]))


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("t1 tse tra KM", ""),
        # the agent is often not told
        ("t1 tse tra", ""),
        ("series 5", ""),
        ("t2 flair", "was taken for t1c (contrast-enhanced T1), but is FLAIR: its series is called 't2 flair'"),
        ("localizer", "but is a localiser"),
        ("t1 tse tra KM MIP", "but is another sequence"),
    ],
)
def test_a_header_that_contradicts_the_folder_is_told(tmp_path, capsys, description, told):
    write_mr_series(tmp_path / "P1" / "t1c", brain(), description=description)
    options = ["prepare", str(tmp_path / "P1"), "--out", str(tmp_path / "o"), "--quiet", "--no-picture"]
    for status in ("prepared", "kept"):
        assert cli.main(options) == 0
        line, total = capsys.readouterr().out.splitlines()
        assert line.startswith(status) and told in line and bool(told) == ("was taken" in line)
        assert ("1 with a doubt that its line names" in total) == bool(told)


def test_series_of_two_patients_are_refused_and_of_two_frames_of_reference_told(tmp_path):
    for patient, case in (("A", "P1"), ("B", "P2")):
        write_mr_series(tmp_path / case / "t1c", brain(), patient="A")
        write_mr_series(tmp_path / case / "flair", brain(1), patient=patient, description="t2 flair")
    one, two = run(find_inputs([tmp_path])[0], tmp_path / "o")
    assert (one.status, two.status) == ("prepared", "refused")
    assert "t2f has another frame of reference than t1c: the scanner's coordinates may not fit" in one.message
    assert "flair: is of the patient 'B' by its Patient ID" in two.message


def test_a_name_that_contradicts_the_folder_and_a_reformat_are_told(tmp_path):
    for file in write_mr_series(tmp_path / "0004", brain()):
        image = dcmread(file)
        image.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        image.save_as(file)
    images = {"t1n": save(tmp_path / "FLAIR" / "P1_t1.nii.gz", brain()), "t1c": tmp_path / "0004"}
    assert sequence_doubts(images) == (
        f"{images['t1n']} was taken for t1n (T1 without contrast agent), but its folder is called 'FLAIR'",
        f"{images['t1c']} was computed from other images (DERIVED\\SECONDARY\\MPR)",
    )
    assert sequence_doubts({"t2w": images["t1n"]})[0].endswith(
        "but is T1 without contrast agent: its name is 'P1_t1', though its folder is called 'FLAIR'"
    )


def test_a_case_is_called_as_its_folder_and_not_as_what_a_link_leads_to(tmp_path):
    write_series(tmp_path / "archive" / "0004")
    (tmp_path / "P7").mkdir()
    (tmp_path / "P7" / "t1w").symlink_to(tmp_path / "archive" / "0004")
    (found,), skipped = find_inputs([tmp_path / "P7"])
    assert (found.case, skipped) == ("P7", [])


def test_the_command_returns_1_when_a_case_is_refused(case, tmp_path, capsys):
    options = ["prepare", str(case), "--out", str(tmp_path / "o"), "--format", "npy", "--quiet", "--no-picture"]
    assert cli.main(options) == 0
    assert cli.main(options) == 0
    assert f"kept      {case.name}" in capsys.readouterr().out
    wrong = save(tmp_path / "wrong.nii.gz", mask(), np.eye(4))
    assert cli.main([*options, "--seg", str(wrong)]) == 1
    assert f"refused   {case.name}" in capsys.readouterr().out
    assert cli.main(["prepare", "--out", str(tmp_path / "o")]) == 2
    one = [f"--image=t1c={case}/{case.name}-t1c.nii.gz", "--case", "mine", "--normalise", "unit", "--clahe"]
    assert cli.main(["prepare", *one, "--out", str(tmp_path / "o"), "--quiet", "--size", "16", "16", "16"]) == 0
    assert nib.load(tmp_path / "o" / "mine" / "mine-t1c.nii.gz").shape == (16, 16, 16)


@pytest.mark.slow
def test_cases_in_processes_of_their_own(case, tmp_path):
    other = {m: case / f"{case.name}-{m}.nii.gz" for m in PARTS[:2]}
    inputs = [*find_inputs([case])[0], single_input(other, "other")]
    assert [r.status for r in run(inputs, tmp_path / "o", workers=2)] == ["prepared", "prepared"]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"format": "zarr"}, "format must be one of"),
        ({"plane": "x"}, "plane must be one of"),
        ({"modalities": ("ct",)}, "modalities must be one or more of"),
        ({"modalities": ("t1n",), "reference": "t2w"}, "the reference must be one of t1n"),
        ({"png_size": 1}, "png_size must be at least 2"),
    ],
)
def test_settings_are_checked(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PreparationSettings(**kwargs)


def test_single_inputs_are_checked(case):
    with pytest.raises(ValueError, match="no such file or folder"):
        single_input({"t1n": case / "none.nii"}, "x")
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        single_input({"t1n": case}, "../x")
    with pytest.raises(ValueError, match="one or more of t1n, t1c, t2w, t2f"):
        single_input({"ct": case}, "x")


def test_labels_of_another_release_are_refused(case, tmp_path):
    (result,) = run(find_inputs([case])[0], tmp_path / "o", PreparationSettings(release="2018", picture=False))
    assert result.status == "refused" and "holds 3, not among the labels of BraTS 2018" in result.message


def moved(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += mm
    return affine


def test_a_modality_whose_header_leads_elsewhere_is_refused(tmp_path):
    save(tmp_path / "d" / "P1_t1.nii.gz", brain())
    save(tmp_path / "d" / "P1_flair.nii.gz", brain(1), moved(500))
    (result,) = run(find_inputs([tmp_path / "d"])[0], tmp_path / "o")
    assert result.status == "refused" and os.listdir(tmp_path / "o") == []
    assert "P1_flair.nii.gz: lies wholly outside P1_t1.nii.gz according to their affines" in result.message


@pytest.mark.parametrize("normalise", ["zscore", "unit", "none"])
def test_a_modality_that_meets_the_grid_but_not_the_brain_is_refused(tmp_path, normalise):
    save(tmp_path / "d" / "P1_t1.nii.gz", brain())
    save(tmp_path / "d" / "P1_flair.nii.gz", brain(1), moved(18))
    settings = PreparationSettings(normalise=normalise, picture=False)
    (result,) = run(find_inputs([tmp_path / "d"])[0], tmp_path / "o", settings)
    assert result.status == "refused" and "P1_flair.nii.gz: it is constant over the brain" in result.message


def test_a_modality_that_covers_half_of_the_brain_is_said(tmp_path):
    save(tmp_path / "d" / "P1_t1.nii.gz", brain())
    save(tmp_path / "d" / "P1_flair.nii.gz", brain(1)[:, :10].copy())
    settings = PreparationSettings(normalise="none", picture=False, brain="nonzero")
    (result,) = run(find_inputs([tmp_path / "d"])[0], tmp_path / "o", settings)
    record = json.loads((tmp_path / "o" / "P1" / "prepared.json").read_text(encoding="utf-8"))
    # interpolation adds a row at the edge to the brain, 8 of 15 instead of 7 of 14
    assert record["covered"] == {"t1n": 1.0, "t2f": round(8 / 15, 4)}
    assert result.status == "prepared" and "t2f covers 53% of the brain" in result.message


@pytest.mark.parametrize("size, message", [(None, "the brain mask is empty"), ((4, 4, 2), "no voxel of the brain is")])
def test_an_empty_brain_is_refused(tmp_path, size, message):
    given = np.zeros((16, 20, 12), np.uint8)
    given[0, 0, 0] = size is not None
    image, mask_file = save(tmp_path / "t1.nii.gz", brain()), save(tmp_path / "brain.nii.gz", given)
    settings = PreparationSettings(size=size, picture=False)
    (result,) = run([single_input({"t1n": image}, "P1", brain=mask_file)], tmp_path / "o", settings)
    assert result.status == "refused" and message in result.message


def test_an_empty_channel_of_a_file_of_several_is_refused(tmp_path):
    volume = np.stack([brain(number) for number in range(4)], -1)
    volume[..., 2] = 0
    save(tmp_path / "d" / "imagesTr" / "BRATS_001.nii.gz", volume)
    (result,) = run(find_inputs([tmp_path / "d"])[0], tmp_path / "o")
    assert result.status == "refused" and "BRATS_001.nii.gz: is constant (0 everywhere in t1c)" in result.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, shape", [("brats2023", (240, 240, 155)), ("brats2018", (240, 240, 155)), ("native", None), ("dicom", None)]
)
def test_real_inputs(shared_data, tmp_path, name, shape):
    inputs, skipped = find_inputs([shared_data / name])
    assert len(inputs) == 1 and not skipped
    (result,) = run(inputs, tmp_path, PreparationSettings(format="npy"))
    assert result.status == "prepared", result.message
    image = np.load(tmp_path / result.case / "image.npy", mmap_mode="r")
    assert np.isfinite(image).all() and (shape is None or image.shape == (4, *shape))


def test_the_real_mask_with_a_wrong_affine_is_refused(shared_data):
    from ckdmed.data.brats import affine_text, grid_disagreement, read_volume_header

    wrong = shared_data / "native" / "affine-mismatch-seg-of-BraTS-GLI-00001-000.nii.gz"
    image = shared_data / "brats2023" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1c.nii.gz"
    if not wrong.is_file() or not image.is_file():
        pytest.skip(f"real data absent: {wrong} or {image}")
    headers = read_volume_header(image), read_volume_header(wrong)
    text = grid_disagreement(*headers)
    assert all(affine_text(header.affine) in text for header in headers)


def test_a_tumour_that_the_grid_loses_is_told(tmp_path):
    """A case without its tumour was written as one that has none."""
    label = np.zeros((16, 20, 12), np.uint8)
    label[3:5, 3:6, 2:6] = 1
    images = {"t1n": save(tmp_path / "t1.nii.gz", brain())}
    inputs = [single_input(images, "P1", save(tmp_path / "seg.nii.gz", label))]
    for settings in ({"size": (6, 6, 6)}, {"spacing": (5.0, 5.0, 5.0)}):
        (result,) = run(inputs, tmp_path / "o", PreparationSettings(picture=False, **settings))
        assert result.status == "refused" and "seg.nii.gz: nothing of it is left on the grid of (" in result.message
    (result,) = run(inputs, tmp_path / "o", PreparationSettings(picture=False, size=(16, 12, 12)))
    assert result.status == "prepared" and "the mask keeps 67% of its volume" in result.message
    (result,) = run(inputs, tmp_path / "o")
    assert "the mask keeps" not in result.message
    # an empty mask says that there is no tumour
    inputs = [single_input(images, "P2", save(tmp_path / "empty.nii.gz", 0 * label))]
    assert run(inputs, tmp_path / "o")[0].status == "prepared"


def test_a_mask_of_several_images_that_were_moved_apart_is_told(tmp_path, monkeypatch):
    """It was moved with the first of them, whichever it was drawn on."""
    shifts = {"t2w": 0.0, "t2f": 3.0}
    found = iter(shifts.values())

    def register(fixed, moving):
        matrix = np.eye(4)
        matrix[0, 3] = next(found)
        return Registration(matrix, 0.1, 0.5, 0.9, 0.9, 1.0, 0.0, float(matrix[0, 3]))

    monkeypatch.setattr(preparation_of_a_case, "register", register)
    images = {name: save(tmp_path / f"{name}.nii.gz", brain(n)) for n, name in enumerate(("t1n", "t2w", "t2f"))}
    save(images["t1n"], brain(), moved(1.5))
    inputs = [single_input(images, "P1", save(tmp_path / "seg.nii.gz", mask()))]
    (result,) = run(inputs, tmp_path / "o", PreparationSettings(picture=False, coregister=True))
    told = "seg.nii.gz has the grid of t2w and of t2f, which the registration moved apart by up to 3.0 mm"
    assert result.status == "prepared" and told in result.message
    found = iter((0.0, 0.5))
    (result,) = run(inputs, tmp_path / "p", PreparationSettings(picture=False, coregister=True))
    assert result.status == "prepared" and "has the grid of" not in result.message
