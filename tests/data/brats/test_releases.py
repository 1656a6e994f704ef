from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from ckdmed import cli
from ckdmed.data.brats import build_brats_datalist
from ckdmed.data.brats.names import free_case_name, parse_case_name
from ckdmed.data.brats.releases import OpenReleaseError, decided_releases, labels_of
from ckdmed.data.patient_table import read_patient_table

from .conftest import brain, mask, save


def decided(release: str | None = None, **labels: set[int]) -> list[str]:
    """Releases of cases: `GLI1` stands for BraTS-GLI-00001-000, `OLD1` for one of 2021, `P1` is a free name."""
    names = {}
    for key in labels:
        kind, number = key[:-1], key[-1]
        full = f"BraTS2021_0000{number}" if kind == "OLD" else f"BraTS-{kind}-0000{number}-000"
        names[key] = free_case_name(key) if kind == "P" else parse_case_name(full)
    found = decided_releases(list(names.values()), {names[key].case: values for key, values in labels.items()}, release)
    return [found[name.case] for name in names.values()]


def test_labels_that_mean_the_same_in_all_open_releases_need_no_answer():
    assert decided(GLI1={0, 1, 2, 3}, MEN1={3}, P1={0, 2}, OLD1={1, 2, 4}) == ["2023", "2023", "2023", "2021"]


def test_a_mask_with_three_and_four_decides_for_the_whole_data_set():
    assert decided(GLI1={1, 2, 3, 4}, GLI2={1, 2}, GLI3={2, 4}, MET1={1, 2, 3}) == ["2024", "2024", "2024", "2023"]


@pytest.mark.parametrize(
    "labels", [{"GLI1": {1, 2, 4}, "GLI2": {1, 2, 3}}, {"PED1": {2}}, {"P1": {1, 2, 3, 4}}, {"P1": {4}, "OLD1": {4}}]
)
def test_what_names_and_labels_leave_open_is_asked_for(labels):
    with pytest.raises(OpenReleaseError, match="neither names nor labels show|The names do not show"):
        decided(**labels)


def test_a_mix_of_older_and_later_masks_is_told_with_what_to_do():
    """With 2024, which the message named among the answers, the enhancing tumour of the older ones was a cavity."""
    told = r"00001-000: label 4 is .* BraTS-GLI-00002-000: label 3 without a 4.* no release fits all of them: replace"
    with pytest.raises(OpenReleaseError, match=told):
        decided(GLI1={1, 2, 4}, GLI2={1, 2, 3}, GLI3={2})
    for labels in ({"GLI1": {4}, "GLI2": {1, 2}}, {"P1": {1, 2, 3, 4}, "P2": {3}}):
        with pytest.raises(OpenReleaseError, match="or --release 2024.$"):
            decided(**labels)


def test_a_given_release_is_of_those_whose_names_do_not_state_theirs():
    assert decided("2024", GLI1={3}, OLD1={4}, P1={3, 4}) == ["2024", "2021", "2024"]
    # masks of 2021 that somebody converted
    assert decided("2023", OLD1={1, 2, 3}, OLD2={3}) == ["2023", "2023"]
    with pytest.raises(ValueError, match="a release must be a year from 2017"):
        decided("1999", GLI1={1})


@pytest.mark.parametrize("release", ["2024", None])
def test_masks_that_may_be_older_than_the_release_are_named(release):
    """Their enhancing tumour was read as a cavity, without a word."""
    with pytest.warns(UserWarning, match="in 1 mask read as of 2024 .*: BraTS-GLI-00002-000. If these are masks of"):
        assert decided(release, GLI1={1, 3, 4}, GLI2={1, 2, 4}, GLI3={3}) == ["2024"] * 3
    with pytest.warns(UserWarning, match=": BraTS2021_00001. No mask holds both"):
        decided("2024", OLD1={1, 2, 4}, OLD2={3})


def test_no_mask_is_named_that_fits_its_release():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decided("2024", GLI1={1, 3, 4}, GLI2={3}, MET1={4}, OLD1={4})
        decided("2021", GLI1={1, 4}, P1={2, 4})
        decided("decathlon", P1={1, 2, 3})


def test_the_commands_name_masks_that_may_be_older(make_case, tmp_path):
    for number, values in enumerate((mask(), np.where(mask() == 3, 4, mask()).astype(np.uint8))):
        make_case(f"case{number}", leave_out=("t1c", "t2w", "t2f"), seg=values, t1n=brain(seed=number))
    for command in (["brats-datalist", "--fractions", "1", "0", "0"], ["check-brats"]):
        with pytest.warns(UserWarning, match="label 4 without a 3 in 1 mask .*: case1. No mask holds both"):
            assert cli.main([*command, "--modalities", "t1n", "--release", "2024", "--quiet", str(tmp_path)]) == 0


def test_labels_are_read_only_where_they_decide(tmp_path):
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"x")
    good = save(tmp_path / "seg.nii.gz", mask())
    names = [parse_case_name(n) for n in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000", "BraTS2021_00001")]
    masks = {names[0].case: good, names[1].case: damaged, names[2].case: good}
    assert labels_of(names, masks) == {"BraTS-GLI-00001-000": {0, 1, 2, 3}}
    assert labels_of(names, masks, "2021") == {} and labels_of(names, masks, "2024").keys() == {names[0].case}


@pytest.fixture
def clinic(tmp_path):
    """Six cases of three patients under names of no challenge, without T2."""
    for number in range(6):
        for part in ("t1", "t1ce", "flair", "seg"):
            array = np.where(mask() > 0, 2, 0).astype(np.uint8) if part == "seg" else brain(seed=number)
            save(tmp_path / "data" / f"scan{number}" / f"scan{number}_{part}.nii.gz", array)
    return tmp_path / "data"


def test_cases_of_any_name_get_a_datalist_and_what_is_assumed_is_said(clinic, caplog):
    datalist, skipped = build_brats_datalist(clinic, modalities=["t1n", "t1c", "t2f"], progress=False)
    assert "6 cases have names" in caplog.messages[0] and "each counts as GLI" in caplog.messages[0]
    assert "6 cases have names" in caplog.messages[1] and "labels of 2023" in caplog.messages[1]
    items = [item for name in ("training", "validation", "test") for item in datalist[name]]
    assert not skipped and sorted(item["patient"] for item in items) == [f"scan{number}" for number in range(6)]
    assert {(item["tumour_type"], item["release"], item["label_voxels"]["ED"]) for item in items} == {
        ("GLI", "2023", 16)
    }


def test_a_table_says_whose_the_cases_are(clinic, tmp_path, capsys):
    table = tmp_path / "patients.csv"
    table.write_text("\ufeffcase,patient\n" + "".join(f"scan{n},person{n // 2}\n" for n in range(6)), encoding="utf-8")
    words = [
        "brats-datalist",
        str(clinic),
        "--modalities",
        "t1n",
        "--tumour-type",
        "MET",
        "--release",
        "2023",
        "--quiet",
    ]
    assert cli.main([*words, "--fractions", "0.4", "0.3", "0.3", "--patients", str(table)]) == 0
    datalist = json.loads((clinic / "datalist.json").read_text(encoding="utf-8"))
    for name in ("training", "validation", "test"):
        numbers = {int(item["case"][-1]) for item in datalist[name]}
        # both cases of a person are in one section
        assert numbers == {pair + n for pair in {number // 2 * 2 for number in numbers} for n in range(2)}
        assert {item["tumour_type"] for item in datalist[name]} == {"MET"}
    table.write_text("case,patient\nscan9,person1\n", encoding="utf-8")
    assert cli.main([*words, "--force", "--patients", str(table)]) == 2
    assert "names 1 absent case (scan9)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,patient\na,b\n", "lacks the column case"),
        ("case,patient\na,\n", "line 2: case and patient must be given"),
        ("case,patient\na,b\na,c\n", "line 3: a belongs to c here and to b above"),
        ("", "lacks the column case and patient"),
    ],
)
def test_a_table_of_patients_is_checked(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_patient_table(tmp_path / "p.csv")
    with pytest.raises(ValueError, match="no such table"):
        read_patient_table(tmp_path / "none.csv")
