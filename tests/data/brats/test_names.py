from __future__ import annotations

import pytest

from ckdmed.data.brats import parse_case_name, parse_file_name, parse_free_name
from ckdmed.data.brats.names import leaves_modality_open


@pytest.mark.parametrize("kind", ["GLI", "MEN", "MET", "PED", "SSA"])
def test_names_of_2023(kind):
    name, part = parse_file_name(f"BraTS-{kind}-01234-101-t2f.nii.gz")
    assert part == "t2f"
    assert (name.case, name.patient, name.time_point) == (f"BraTS-{kind}-01234-101", f"BraTS-{kind}-01234", 101)
    assert (name.tumour_type, name.release) == (kind, "2023")


@pytest.mark.parametrize(
    "file, case, patient, time, release, part",
    [
        ("Brats17_2013_0_1_t1ce.nii.gz", "Brats17_2013_0_1", "2013_0", 1, "2017", "t1c"),
        ("Brats18_TCIA05_396_1_flair.nii.gz", "Brats18_TCIA05_396_1", "TCIA05_396", 1, "2018", "t2f"),
        ("BraTS19_CBICA_AAB_1_t1.nii", "BraTS19_CBICA_AAB_1", "CBICA_AAB", 1, "2019", "t1n"),
        ("BraTS20_Training_001_t2.nii", "BraTS20_Training_001", "BraTS20_Training_001", 0, "2020", "t2w"),
        ("BraTS2021_00495_seg.nii.gz", "BraTS2021_00495", "BraTS2021_00495", 0, "2021", "seg"),
    ],
)
def test_names_of_2017_to_2021(file, case, patient, time, release, part):
    name, found = parse_file_name(file)
    assert (name.case, name.patient, name.time_point, name.release, found) == (case, patient, time, release, part)


def test_persons_whom_releases_repeat_share_a_group():
    groups = {parse_case_name(n).patient_group for n in ("Brats17_TCIA_396_1", "Brats18_TCIA05_396_1")}
    assert len(groups) == 1
    assert {parse_case_name(f"{r}_CBICA_AAB_1").patient_group for r in ("Brats17", "BraTS19")} == {"CBICA_AAB"}


@pytest.mark.parametrize(
    "official, renamed",
    [
        ("Brats18_CBICA_AAB_1", "brats18-cbica-aab-2"),
        ("Brats18_TCIA05_396_1", "brats18_tcia05_396_2"),
        ("BraTS20_Training_001", "brats20_training_001"),
        ("BraTS2021_00495", "brats2021-00495"),
        ("BraTS-GLI-00495-000", "brats_gli_00495_001"),
    ],
)
def test_spelling_makes_no_other_person(official, renamed):
    first, second = parse_case_name(official), parse_case_name(renamed)
    assert first.patient_group == second.patient_group
    # the group of a name as it was published is what records of earlier trainings have
    assert first.patient_group == first.patient.replace("TCIA05", "TCIA")


@pytest.mark.parametrize(
    "file",
    [
        "BraTS-GLI-00001-000-ct.nii.gz",
        "BRATS_001_t1.nii.gz",
        "BraTS-XYZ-00001-000-t1n.nii.gz",
        "BraTS-GLI-00001-000-t1n.png",
        "a.nii",
    ],
)
def test_other_names_are_none(file):
    assert parse_file_name(file) is None


@pytest.mark.parametrize(
    "stem, parsed",
    [
        ("TCGA-FG-6692_fla", ("TCGA-FG-6692", "t2f")),
        ("TCGA-FG-6692_t1c", ("TCGA-FG-6692", "t1c")),
        ("sub-01_T1w", ("sub-01", "t1n")),
        ("t1gd", ("", "t1c")),
        ("patient_brainmask", ("patient", "brain")),
        ("P1_brain_mask", ("P1", "brain")),
        ("P1_mask", ("P1", "mask")),
        ("P1_T2_FLAIR", ("P1", "t2f")),
        ("T2_FLAIR", ("", "t2f")),
        ("P1-T1_Gd", ("P1", "t1c")),
        ("P1_T1_t1c", ("P1_T1", "t1c")),
        ("sub-01_ce-gd_T1w", ("sub-01", "t1c")),
        ("sub-01_ce-none_T1w", ("sub-01", "t1n")),
        ("sub-01_ses-2_acq-3d_run-1_FLAIR", ("sub-01_ses-2", "t2f")),
        ("sub-01_space-T1w_FLAIR", ("sub-01", "t2f")),
        ("sub-01_acq-T2_FLAIR", ("sub-01", "t2f")),
        ("P1_brain_T1", ("P1_brain", "t1n")),
        ("sub-01_desc-brain_mask", ("sub-01", "mask")),
        ("affine-mismatch-seg-of-BraTS-GLI-00001-000", None),
        ("notes", None),
    ],
)
def test_free_names(stem, parsed):
    assert parse_free_name(stem) == parsed
    assert not leaves_modality_open(stem)


@pytest.mark.parametrize(
    "ending, part",
    [
        *[(one, "t1n") for one in ("T1", "T1w", "t1n", "T1_pre", "T1_pre_contrast", "T1_T1")],
        *[(one, "t1c") for one in ("T1c", "T1C", "T1_C", "T1+C", "t1ce", "T1CE", "T1wCE", "T1_CE", "T1Gd", "T1GD")],
        *[(one, "t1c") for one in ("T1_Gd", "T1_GAD", "T1gado", "T1_KM", "T1_post", "T1post", "T1_post_contrast")],
        *[(one, "t1c") for one in ("T1_post_Gd", "T1_contrast", "T1w-contrast")],
        *[(one, "t2w") for one in ("T2", "T2w", "t2w")],
        *[(one, "t2f") for one in ("FLAIR", "flair", "fla", "T2_FLAIR", "T2-FLAIR", "T2FLAIR", "T2w_FLAIR", "t2f")],
    ],
)
def test_what_names_call_a_modality(ending, part):
    assert parse_free_name(ending)[1] == part
    assert parse_free_name(f"P1_{ending}")[1] == part


@pytest.mark.parametrize(
    "stem",
    [
        *["T1_FLAIR", "P_T1_FLAIR", "T1-FLAIR", "P_T1w_tse_FLAIR", "T1c_FLAIR", "T1_to_FLAIR", "T2_to_FLAIR"],
        *["FLAIR_T1", "P1_FLAIR_T2", "FLAIR_to_T1", "P1.flair_T1", "T1_T2", "P1_T2_T1", "T1_in_T1c", "T1c_T1"],
        *["CE_T1", "P1_CE-T1", "P1_Gd_T1w", "P1_post_T1", "P1_contrast_T1", "P1_seg_T1", "P1_brain_mask_flair"],
        *["sub-01_acq-T1_FLAIR", "sub-01_acq-flair_T2w", "sub-01_acq-post_T1w", "sub-01_rec-gd_T1w"],
    ],
)
def test_a_name_that_leaves_the_modality_open_is_not_read(stem):
    assert parse_free_name(stem) is None and leaves_modality_open(stem)


@pytest.mark.parametrize(
    "stem",
    ["P1_T2star", "P1_T2_star", "P1_T2*", "P1_T1map", "P1_T1_postop", "P1_CT1", "P1_PART1", "P1_T1_no_contrast"],
)
def test_names_of_other_images_are_none(stem):
    assert parse_free_name(stem) is None and not leaves_modality_open(stem)


@pytest.mark.parametrize("name", ["brats_gli_00001_002", "BRATS-GLI-00001-002", "BraTS GLI 00001 002"])
def test_spellings_of_a_name_are_of_one_patient(name):
    parsed = parse_case_name(name)
    assert (parsed.case, parsed.patient, parsed.time_point, parsed.release) == (name, "BraTS-GLI-00001", 2, "2023")


def test_modalities_of_other_releases_belong_to_a_case_too():
    name, part = parse_file_name("BraTS-GLI-00001-000_T1.NII.GZ")
    assert (name.case, part) == ("BraTS-GLI-00001-000", "t1n")
