"""A training leaves beside its weights how its inputs look, by which its inference tells others from them."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from ckdmed.bundle import record_inputs, training_inputs
from ckdmed.bundle.training_inputs import _spread
from ckdmed.data.brats import build_slice_cache
from ckdmed.intended_inputs import IntendedInputs, SeriesFacts, check_input
from ckdmed.sections.brats import brats_sections
from ckdmed.sections.slices import figshare_sections
from tests.bundle.bundle_runs import opened
from tests.bundle.seg_kd_runs import run

# of which 11 are in the training section
PEOPLE = 17


def _weights(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("phantoms"))
    return figshare_sections(None, folder, phantom_patients=PEOPLE, phantom_size=48, phantom_slices=(4, 5))


def test_slices_of_phantoms_make_a_record_and_nothing_random_is_used(slices, tmp_path):
    torch.manual_seed(3)
    before, folder = torch.get_rng_state(), _weights(tmp_path / "a")
    legacy = np.random.get_state()[1].copy()
    record_inputs(slices, str(folder), None)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], legacy)
    found = IntendedInputs.beside(folder / "model.pt")
    assert found.appearances[0].slices <= 60 and found.appearances[0].patients >= 10
    assert "phantoms" in found.description and found.modality == ""
    rng = np.random.default_rng(0)
    assert check_input(found, rng.normal(size=(1, 48, 48))).outside
    # the same of the same, whatever the order of the items
    record_inputs({"train": slices["train"][::-1]}, str(_weights(tmp_path / "b")), None)
    written = [(tmp_path / name / "model.inputs.json").read_bytes() for name in ("a", "b")]
    assert written[0] == written[1]
    # one that is there stays, and where there are no weights nothing is made
    (folder / "model.inputs.json").write_text("mine")
    record_inputs(slices, str(folder), None)
    assert (folder / "model.inputs.json").read_text() == "mine"
    record_inputs(slices, str(tmp_path / "none"), None)
    record_inputs(slices, str(_weights(tmp_path / "other rank")), None, save=False)
    assert not (tmp_path / "none").exists() and not (tmp_path / "other rank/model.inputs.json").exists()


def test_the_next_training_of_a_process_looks_at_other_images_alone(tmp_path, monkeypatch):
    folder = str(tmp_path / "phantoms")
    slices = figshare_sections(None, folder, phantom_patients=PEOPLE, phantom_size=48, phantom_slices=(4, 5))
    looked = []

    def counted(chosen, *arguments):
        looked.append(len(chosen))
        return look(chosen, *arguments)

    look = training_inputs._look
    monkeypatch.setattr(training_inputs, "_look", counted)
    texts = []

    def record(name, sections, modalities=()):
        record_inputs(sections, str(_weights(tmp_path / name)), None, modalities)
        texts.append((tmp_path / name / "model.inputs.json").read_bytes())
        return len(looked)

    assert record("first", slices) == 1 and record("second", slices) == 1 and texts[0] == texts[1]
    fewer = [item for item in slices["train"] if item["patient_group"] != slices["train"][0]["patient_group"]]
    assert record("others", {"train": fewer}) == 2 and texts[2] != texts[0]
    assert record("again", slices) == 3 and texts[3] == texts[0]
    # written anew
    os.utime(training_inputs._spread(slices["train"], 60)[0]["image"], (1, 1))
    assert record("newer", slices) == 4


def test_figshare_slices_are_contrast_enhanced_t1(slices, tmp_path):
    folder = _weights(tmp_path)
    record_inputs(slices, str(folder), "figshare")
    found = IntendedInputs.beside(folder / "model.pt")
    assert (found.modality, found.sequences, found.field_of_view_mm) == ("MR", ("t1c",), (251.0, 251.0))
    flair = check_input(found, np.zeros((1, 48, 48)), SeriesFacts("MR", "t2f", "its name says so"))
    assert flair.causes == ("sequence",)


def test_a_sample_has_something_of_each_patient():
    items = [{"image": f"{p}-{n}", "patient_group": str(p)} for p in range(5) for n in range(1 + 10 * p)]
    chosen = _spread(items, 8)
    assert len(chosen) == 8 and {item["patient_group"] for item in chosen} == set("01234")
    assert chosen == _spread(items[::-1], 8) == sorted(chosen, key=lambda item: item["image"])
    assert len(_spread(items, 1000)) == len(items)


def test_too_few_are_said(slices, tmp_path, caplog):
    people = sorted({item["patient_group"] for item in slices["train"]})[:9]
    few = [item for item in slices["train"] if item["patient_group"] in people]
    with caplog.at_level(logging.INFO):
        record_inputs({"train": few}, str(_weights(tmp_path)), None)
    assert "of 9 patients are too few (at least 40 slices of 10 patients)" in caplog.text
    assert not (tmp_path / "model.inputs.json").exists()


def test_what_cannot_be_read_ends_no_training(slices, tmp_path, caplog):
    items = [{**item, "image": str(tmp_path / "gone.mat")} for item in slices["train"]]
    record_inputs({"train": items}, str(_weights(tmp_path)), "figshare")
    assert "could not be stored" in caplog.text and "gone.mat" in caplog.text


def test_volumes_of_an_own_datalist_say_what_they_are(tmp_path):
    items = []
    for person in range(10):
        rng = np.random.default_rng(person)
        y, x = np.mgrid[-1:1:48j, -1:1:40j]
        head = (np.hypot(x, y) < rng.uniform(0.7, 0.9)) * rng.uniform(80, 120)
        volume = np.stack([head + rng.normal(0, 5, head.shape) for _ in range(5)], axis=2)
        path = tmp_path / f"P{person}_t1ce.nii.gz"
        nib.save(nib.Nifti1Image(volume.astype(np.float32), np.diag([4.0, 5.0, 3.0, 1.0])), path)
        items += [{"image": str(path), "slice": n, "patient_group": f"P{person}"} for n in range(5)]
    folder = _weights(tmp_path / "models")
    record_inputs({"train": items}, str(folder), "mine.json")
    found = IntendedInputs.beside(folder / "model.pt")
    assert (found.modality, found.sequences, found.appearances[0].slices) == ("MR", ("t1c",), 50)
    assert found.field_of_view_mm == pytest.approx((200.0, 200.0))
    assert found.description == "contrast-enhanced T1 like those of its training"


@pytest.mark.slow
def test_cases_and_slices_cut_from_them(tmp_path):
    sections = brats_sections(
        None, str(tmp_path / "p"), ["t1c", "t2f"], (0.84, 0.08, 0.08), phantom_cases=20, phantom_shape=(32, 32, 24)
    )
    models = _weights(tmp_path / "whole")
    record_inputs(sections, str(models), "cases", ["t2f"])
    whole = IntendedInputs.beside(models / "model.pt")
    assert (whole.modality, whole.sequences) == ("MR", ("t2f",)) and whole.appearances[0].patients >= 10
    first = nib.load(sections["train"][0]["image"][0])
    assert whole.field_of_view_mm == pytest.approx((max(first.shape[:2]) * abs(first.affine[0, 0]),) * 2)
    folders, _ = build_slice_cache(sections["train"], tmp_path / "cache", normalise="unit")
    items = [
        {**item, "image": str(place / "image.npy"), "slice": number}
        for item, place in zip(sections["train"], folders, strict=True)
        for number in range(6, 18)
    ]
    models = _weights(tmp_path / "cut")
    record_inputs({"train": items}, str(models), "cases", ["t1c", "t2f"])
    cut = IntendedInputs.beside(models / "model.pt")
    assert cut.sequences == ("t1c", "t2f") and cut.appearances[0].slices == len(items)
    assert cut.field_of_view_mm == whole.field_of_view_mm


def test_slices_cut_from_cases_are_as_large_as_their_volumes(tmp_path):
    """The record of a training on them had no field of view, so that no inference told a hand from a head."""
    rng, names = np.random.default_rng(0), dict.fromkeys(("patient", "tumour_type", "release", "grade"), "x")
    items = []
    for person in range(10):
        path = tmp_path / f"P{person}.nii.gz"
        nib.save(nib.Nifti1Image(rng.uniform(1, 9, (9, 8, 6)).astype(np.float32), np.diag([-20.0, -25, 3, 1])), path)
        case = {**names, "case": f"P{person}", "patient_group": f"P{person}", "time_point": 0, "tumor_label": 1}
        items.append({**case, "image": [str(path)], "modalities": ["t1c"]})
    folders, skipped = build_slice_cache(items, tmp_path / "cache", normalise="unit", progress=False)
    assert not skipped
    cut = [
        {**item, "image": str(place / "image.npy"), "slice": number}
        for item, place in zip(items, folders, strict=True)
        for number in range(6)
    ]
    models = _weights(tmp_path / "models")
    record_inputs({"train": cut}, str(models), "cases", ["t1c"])
    found = IntendedInputs.beside(models / "model.pt")
    assert found.sequences == ("t1c",) and found.field_of_view_mm == pytest.approx((200.0, 200.0))


@pytest.mark.slow
@pytest.mark.bundle
def test_an_inference_with_ones_own_student_flags(tmp_path):
    run(tmp_path / "run", phantom_patients=PEOPLE + 3, method="supervised", epochs=1)
    assert (tmp_path / "run/models/model.inputs.json").is_file()
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    noise = np.random.default_rng(0).normal(0, 1, (48, 48, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), inputs / "noise.nii.gz")
    made = opened(
        "seg_kd",
        "inference.json",
        checkpoint=str(tmp_path / "run/models/model.pt"),
        dataset_dir=str(inputs),
        output_dir=str(tmp_path / "out"),
        device="$torch.device('cpu')",
    )
    made.run()
    made.finalize()
    (result,) = json.loads((tmp_path / "out/report.json").read_text())["results"]
    assert result["intended_inputs"]["status"] == "outside"
