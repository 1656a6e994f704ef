from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset

from ckdmed.data.slice_files import read_slices
from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.intended_inputs.series_facts import SeriesFacts, facts_of_dicom, facts_of_slices, series_facts


def header(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.Modality = 512, 256, [0.5, 0.9], "MR"
    for key, value in values.items():
        setattr(dataset, key, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "sequence"),
    [
        ({"SeriesDescription": "AX T1 POST"}, "t1c"),
        ({"SeriesDescription": "t1_mprage_tra_KM"}, "t1c"),
        ({"SeriesDescription": "SAG T1 +C"}, "t1c"),
        ({"SeriesDescription": "eT1W_SE_GD"}, "t1c"),
        ({"SeriesDescription": "T1 TSE tra", "ContrastBolusAgent": "Gadovist"}, "t1c"),
        ({"SeriesDescription": "T1 TSE tra", "ContrastBolusAgent": "NONE"}, "t1n"),
        ({"SeriesDescription": "AX T1 PRE GAD"}, "t1n"),
        ({"SeriesDescription": "T1 without contrast", "ContrastBolusAgent": "Dotarem"}, "t1n"),
        ({"SeriesDescription": "anat-T1w"}, "t1n"),
        ({"SeriesDescription": "AX T2 FLAIR"}, "t2f"),
        ({"SeriesDescription": "t2_tirm_tra_dark-fluid"}, "t2f"),
        ({"SeriesDescription": "t2_spc_da-fl_sag_p2_iso"}, "t2f"),
        ({"SeriesDescription": "t2_spc_ir_ns_sag"}, "t2f"),
        ({"SeriesDescription": "t2_spc_sag_p2_iso"}, "t2w"),
        ({"SeriesDescription": "FLAIR +C"}, "t2f"),
        ({"SeriesDescription": "SAG T1 FLAIR"}, "t1n"),
        ({"SeriesDescription": "Ax T1 FSE FLAIR +C"}, "t1c"),
        ({"SeriesDescription": "t1_tse_t2_flair"}, "t2f"),
        ({"SeriesDescription": "t1_tirm_tra_dark-fluid"}, "t1n"),
        ({"SeriesDescription": "PART1 FLAIR"}, "t2f"),
        # what two words leave open the times decide, or nothing
        ({"SeriesDescription": "SAG T1 FLAIR", "EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500}, "t2f"),
        ({"SeriesDescription": "FLAIR T1"}, ""),
        ({"SeriesDescription": "FLAIR T1", "EchoTime": 12, "RepetitionTime": 2200, "InversionTime": 900}, "t1n"),
        ({"SeriesDescription": "T1 registered to FLAIR"}, ""),
        ({"SeriesDescription": "SAG T2 C7-T1", "EchoTime": 100, "RepetitionTime": 4000}, "t2w"),
        ({"SeriesDescription": "T1 T2", "EchoTime": 12, "RepetitionTime": 9000}, ""),
        # a protocol with the names of a whole examination
        ({"SeriesDescription": "AX T1", "ProtocolName": "BRAIN T1 T2 FLAIR DWI"}, "t1n"),
        ({"SeriesDescription": "AX T2", "ProtocolName": "BRAIN FLAIR T1"}, "t2w"),
        (
            {"SeriesDescription": "AX T2", "ProtocolName": "FLAIR"}
            | {"EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500},
            "t2f",
        ),
        ({"SeriesDescription": "AX DWI", "ProtocolName": "T1", "EchoTime": 12, "RepetitionTime": 500}, "other"),
        ({"SeriesDescription": "AX T1 POST", "ProtocolName": "MRI BRAIN W/WO"}, "t1c"),
        (
            {"SeriesDescription": "AX T1", "ProtocolName": "BRAIN W WO CONTRAST", "ContrastBolusAgent": "Gadavist"},
            "t1c",
        ),
        ({"SeriesDescription": "AX T1", "ProtocolName": "BRAIN WITH AND WITHOUT CONTRAST"}, "t1n"),
        ({"SeriesDescription": "AX T1", "ProtocolName": "BRAIN WITHOUT CONTRAST"}, "t1n"),
        ({"SeriesDescription": "AX T1 POST NO FS"}, "t1c"),
        ({"SeriesDescription": "AX T1 W/O FAT SAT", "ContrastBolusAgent": "Gadavist"}, "t1c"),
        ({"SeriesDescription": "t1_se_tra_postop"}, "t1n"),
        ({"SeriesDescription": "T1 post-op"}, "t1n"),
        ({"SeriesDescription": "t1post"}, "t1c"),
        ({"SeriesDescription": "AX T1 POST FOSSA"}, "t1n"),
        ({"SeriesDescription": "AX T1 posterior fossa"}, "t1n"),
        ({"SeriesDescription": "T1 post radiation"}, "t1n"),
        ({"SeriesDescription": "T1 POST CHEMO +C"}, "t1c"),
        ({"SeriesDescription": "T1 GAD PRE-OP STEALTH"}, "t1c"),
        ({"SeriesDescription": "T1 PRE"}, "t1n"),
        ({"SeriesDescription": "AX T1 IV CON"}, "t1c"),
        ({"SeriesDescription": "WATER: Ax T1 IDEAL +C"}, "t1c"),
        ({"SeriesDescription": "FAT: Ax T1 IDEAL +C"}, "other"),
        ({"SeriesDescription": "t1_vibe_dixon_tra_KM_W"}, "t1c"),
        ({"SeriesDescription": "t1_vibe_dixon_tra_KM_F"}, "other"),
        # brain and spine are often one study
        ({"SeriesDescription": "SAG T1 C-SPINE"}, "other"),
        ({"SeriesDescription": "t1_tse_sag_KM_HWS"}, "other"),
        ({"SeriesDescription": "t1_spinecho_tra_KM"}, "t1c"),
        ({"SeriesDescription": "T1 KM sag", "BodyPartExamined": "TSPINE"}, "other"),
        ({"SeriesDescription": "BRAIN T1 KM", "BodyPartExamined": "CSPINE"}, "t1c"),
        ({"SeriesDescription": "AX T1 KM", "ProtocolName": "BRAIN AND C-SPINE"}, "t1c"),
        ({"SeriesDescription": "AX T1 KM", "BodyPartExamined": "HEAD"}, "t1c"),
        ({"SeriesDescription": "Ax T2 FSE"}, "t2w"),
        ({"SeriesDescription": "T2*_GRE"}, "other"),
        ({"SeriesDescription": "AX_T2_STAR"}, "other"),
        ({"SeriesDescription": "T2W_FFE_tra"}, "other"),
        ({"SeriesDescription": "ep2d_diff_3scan_trace_ADC"}, "other"),
        ({"SeriesDescription": "3-plane loc"}, "other"),
        ({"SeriesDescription": "SWI_Images"}, "other"),
        ({"SeriesDescription": "T1 post subtraction"}, "other"),
        ({"SeriesDescription": "t1_vibe_tra_KM_SUB"}, "other"),
        ({"SeriesDescription": "t1_mprage_KM_MIP"}, "other"),
        ({"SeriesDescription": "sub-01_T1w"}, "t1n"),
        ({"EchoTime": 90, "RepetitionTime": 9000, "InversionTime": 2500}, "t2f"),
        ({"EchoTime": 100, "RepetitionTime": 4000}, "t2w"),
        ({"EchoTime": 3, "RepetitionTime": 1900, "InversionTime": 900, "ContrastBolusAgent": "Magnevist"}, "t1c"),
        ({"EchoTime": 14, "RepetitionTime": 500}, "t1n"),
        ({"SeriesDescription": "series 5"}, ""),
        ({}, ""),
    ],
)
def test_sequence_of_a_header(values: dict, sequence: str) -> None:
    facts = facts_of_dicom(header(**values))
    assert facts.sequence == sequence
    assert bool(facts.because) == bool(sequence)


KM = {"SeriesDescription": "t1_tse_tra_KM"}


@pytest.mark.parametrize(
    ("values", "sequence", "origin"),
    [
        ({**KM, "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}, "t1c", ""),
        ({**KM, "ImageType": ["DERIVED", "SECONDARY"]}, "t1c", "derived"),
        # in these a reformat is called so, and in a series' name `mpr` is short for the sequence MPRAGE
        ({**KM, "ImageType": ["DERIVED", "SECONDARY", "MPR", "CSA MPR"]}, "t1c", "derived reformatted"),
        ({**KM, "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "t1c", "derived reformatted"),
        ({"SeriesDescription": "t1_mpr_sag_KM", "ImageType": ["ORIGINAL", "PRIMARY", "M"]}, "t1c", ""),
        ({**KM, "ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}, "other", "derived"),
        ({**KM, "ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]}, "other", "derived"),
        ({**KM, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "other", ""),
        ({**KM, "PhotometricInterpretation": "RGB"}, "other", ""),
        ({**KM, "PhotometricInterpretation": "RGB", "Modality": "OT"}, "t1c", ""),
        ({**KM, "PhotometricInterpretation": "MONOCHROME1"}, "t1c", ""),
        ({**KM, "ImageType": "ORIGINAL"}, "t1c", ""),
        ({**KM, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "other", "localiser"),
        ({"SeriesDescription": "3-plane loc"}, "other", "localiser"),
        ({"SeriesDescription": "AAHead_Scout_MPR_sag"}, "other", "localiser"),
        ({"SeriesDescription": "AX DWI", "ProtocolName": "LOC"}, "other", ""),
    ],
)
def test_what_was_made_of_other_images_is_known_by_its_image_type(values: dict, sequence: str, origin: str) -> None:
    facts = facts_of_dicom(header(**values))
    found = [name for name in ("derived", "reformatted", "localiser") if getattr(facts.origin, name)]
    assert (facts.sequence, " ".join(found)) == (sequence, origin)
    assert facts.sequence != "other" or facts.because


def test_a_scan_of_the_spine_is_called_so() -> None:
    facts = facts_of_dicom(header(SeriesDescription="T1 KM sag", BodyPartExamined="CSPINE"))
    assert facts.sequence_text == "a scan of another part of the body"
    assert facts.because == "its series is called 'T1 KM sag', its body part CSPINE"


def test_modality_and_field_of_view_of_a_header() -> None:
    facts = facts_of_dicom(header(Modality="CT"))
    assert (facts.modality, facts.field_of_view_mm) == ("CT", 256.0)


def test_sequence_of_a_name() -> None:
    affine = np.diag([-0.9, -0.5, 6.0, 1.0])
    geometry = spatial_geometry("nifti", (256, 512, 20), affine)
    facts = facts_of_slices("some/TCGA-1_fla.nii.gz", geometry)
    assert (facts.modality, facts.sequence, facts.field_of_view_mm) == ("MR", "t2f", pytest.approx(256.0))
    assert facts.pixel_mm == pytest.approx((0.5, 0.9))
    assert series_facts("x/anything.png") == SeriesFacts(description="anything")


@pytest.mark.parametrize(
    ("name", "sequence", "because"),
    [
        ("P1/FLAIR/scan.nii.gz", "t2f", "its folder is called 'FLAIR'"),
        ("P1_t1ce/P1.nii.gz", "t1c", "its folder is called 'P1_t1ce'"),
        # the file's own name counts first, and a general word of its folder contradicts nothing
        ("FLAIR/P1_t1c.nii.gz", "t1c", "its name is 'P1_t1c', though its folder is called 'FLAIR'"),
        ("T2/P1_flair.nii.gz", "t2f", "its name is 'P1_flair'"),
        ("t1c/P1_post_T1.nii.gz", "", ""),
        ("t1c/P1_seg.nii.gz", "", ""),
        ("images/P1.nii.gz", "", ""),
    ],
)
def test_sequence_of_a_folder(tmp_path: Path, name: str, sequence: str, because: str) -> None:
    facts = series_facts(tmp_path / name)
    assert (facts.sequence, facts.because) == (sequence, because)
    # as `ckdmed segment` reads it
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    (tmp_path / "P").mkdir()
    link = tmp_path / "P" / Path(name).name
    link.symlink_to(tmp_path / name)
    assert series_facts(link).sequence == sequence


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_volume_that_does_not_tell_how_it_lies_is_known(tmp_path: Path, code: int) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (8, 9, 4)).astype(np.int16), None)
    image.set_sform(np.eye(4), code)
    nib.save(image, tmp_path / "p_t1ce.nii.gz")
    facts = facts_of_slices(tmp_path / "p_t1ce.nii.gz", read_slices(tmp_path / "p_t1ce.nii.gz")[1])
    assert facts.placed == (code > 0) and facts.sequence == "t1c"


def test_real_headers(shared_data) -> None:
    facts = series_facts(shared_data / "dicom/t1w")
    assert (facts.modality, facts.sequence) == ("MR", "t1n")
    assert "nothing in it mentions a contrast agent" in facts.because
    assert facts.field_of_view_mm == pytest.approx(256.0, abs=1)
