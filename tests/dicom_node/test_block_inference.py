"""A series in blocks gives the masks of the whole."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from pydicom import dcmread

from ckdmed.bundle_files import bundle_folder
from ckdmed.cli import main
from ckdmed.data.dicom_series import SliceGapWarning
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.dicom_node import worker
from ckdmed.dicom_node.block_inference import block_slices, infer_in_blocks
from ckdmed.dicom_node.block_results import FoundInBlocks, block_folder, inference_folder
from ckdmed.dicom_node.worker import Task, bundle_task, make_results
from ckdmed.file_hash import sha256_of
from tests.dicom_results.mr_series import write_mr_series


@pytest.mark.slow
def test_blocks_give_what_the_whole_gives(shared_data, tmp_path):
    image = np.asarray(read_figshare_slice(sorted((shared_data / "figshare_mat").glob("*.mat"))[0]).image)
    slices = [image, image[::-1], np.roll(image, 20, axis=0), image[:, ::-1], image // 2]
    volume = np.stack([part[::4, ::4].T for part in slices], axis=2)
    files = write_mr_series(tmp_path / "mr", volume)
    bundle = bundle_folder("seg_kd")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    once = infer_in_blocks(files, bundle, whole)
    # of 3 and 2 slices
    with warnings.catch_warnings():
        warnings.simplefilter("error", SliceGapWarning)
        found = infer_in_blocks(files, bundle, parts, block=3)
    assert (len(once.names), len(found.names), found.regions, found.classes) == (1, 2, ("tumour",), ())
    mask = once.masks(whole)["tumour"]
    assert mask.any() and mask.shape == volume.shape and mask.dtype == np.uint8
    assert np.array_equal(mask, found.masks(parts)["tumour"])
    assert np.allclose(once.probabilities(whole)["tumour"], found.probabilities(parts)["tumour"], atol=1e-5)
    # a killed worker's blocks are used by the next
    assert infer_in_blocks(files, bundle, parts, block=3) == found == FoundInBlocks.read(parts)
    assert found.settings["threshold"] == 0.3


def test_blocks_of_large_slices_are_of_fewer():
    assert [block_slices(side, side) for side in (128, 256, 512, 4096)] == [96, 24, 6, 4]


def test_the_slices_that_are_left_out_here_are_not_told_as_missing(tmp_path, monkeypatch):
    files = write_mr_series(tmp_path / "mr", np.random.default_rng(0).integers(0, 800, (16, 12, 8)))
    names, work = ("a", "b"), tmp_path / "work"
    inference_folder(work).mkdir(parents=True)
    for number, name in enumerate(names):
        block_folder(work, number).mkdir(parents=True)
        for file in files[number::2]:
            (block_folder(work, number) / file.name).symlink_to(file)
        affine = np.diag([-0.8, -0.9, 6, 1])
        affine[:3, 3] = 10, -20, 30 + 3 * number
        nib.save(
            nib.Nifti1Image(np.ones((16, 12, 4), np.uint8), affine), inference_folder(work) / f"{name}_mask.nii.gz"
        )
    monkeypatch.setattr(worker, "_LOOKED_AT", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SliceGapWarning)
        found = FoundInBlocks(names=names, regions=("tumour",), classes=(), settings={})
        assert found.masks(work)["tumour"].all()
        assert worker._check(files, bundle_folder("seg_kd") / worker.WEIGHTS).reasons


def test_results_are_written_without_pytorch():
    program = "import sys, ckdmed.dicom_results, ckdmed.dicom_node.block_results; print('torch' in sys.modules)"
    program += "; print('monai' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("bundle, modalities", [("seg_kd", ["SEG", "SR"]), ("cls_kd", ["SR"])])
def test_a_worker_makes_the_results_of_a_slice(shared_data, tmp_path, bundle, modalities):
    image = np.asarray(read_figshare_slice(sorted((shared_data / "figshare_mat").glob("*.mat"))[0]).image)
    files = write_mr_series(tmp_path / "mr", image.T[:, :, None], spacing=(0.49, 0.49, 6.0))
    task = Task([str(file) for file in files], str(bundle_folder(bundle)), str(tmp_path / "w"), str(tmp_path / "r"))
    outcome = make_results(task)
    results = [dcmread(tmp_path / "r" / name) for name in outcome["results"]]
    assert [item.Modality for item in results] == modalities
    assert outcome["status"] == "intended" and outcome["refused"] == ""
    assert all(item.DeviceSerialNumber != "none" for item in results)
    assert json.loads((tmp_path / "r" / "outcome.json").read_text()) == outcome == make_results(task)
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_other_weights_make_the_results(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    shipped = bundle_folder("seg_kd") / "models"
    weights = torch.load(shipped / "model.pt", weights_only=True)
    last = [name for name in weights if name.endswith("bias")][-1]
    # all is tumour to this network
    torch.save({**weights, last: weights[last] + 1000}, own / "model.pt")
    record = (shipped / "model.json").read_text(encoding="utf-8")
    assert sha256_of(shipped / "model.pt") in record
    record = record.replace(sha256_of(shipped / "model.pt"), sha256_of(own / "model.pt"))
    (own / "model.json").write_text(record, encoding="utf-8")
    files = write_mr_series(tmp_path / "mr", np.random.default_rng(0).integers(0, 99, (32, 32, 1)))
    images = [str(file) for file in files]
    bundle = str(bundle_folder("seg_kd"))
    task = Task(images, bundle, str(tmp_path / "w"), str(tmp_path / "r"), checkpoint=str(own / "model.pt"))
    outcome = make_results(task)
    (mask,) = [r for name in outcome["results"] if (r := dcmread(tmp_path / "r" / name)).Modality == "SEG"]
    assert mask.pixel_array.all() and mask.DeviceSerialNumber == sha256_of(own / "model.pt")
    # there is no record of the inputs that they were made for
    assert outcome["status"] == "unknown"


@pytest.mark.slow
def test_a_series_with_a_gap_is_refused_with_the_cause(tmp_path):
    files = write_mr_series(tmp_path / "mr", np.ones((16, 16, 4), int), heights=[0, 3, 9, 12])
    task = Task([str(f) for f in files], str(bundle_folder("seg_kd")), str(tmp_path / "w"), str(tmp_path / "r"))
    outcome = make_results(task)
    assert "not evenly spaced" in outcome["refused"] and outcome["results"] == []


def test_a_localiser_is_refused_without_its_name(tmp_path):
    values = np.random.default_rng(0).integers(0, 800, (16, 12, 5))
    files = write_mr_series(tmp_path / "mr", values, description="localizer Doe")
    task = Task([str(f) for f in files], str(bundle_folder("seg_kd")), str(tmp_path / "w"), str(tmp_path / "r"))
    outcome = make_results(task)
    assert "is a localiser" in outcome["refused"] and "Doe" not in outcome["refused"] and outcome["results"] == []


def test_a_bundle_has_to_see_slices(tmp_path):
    assert bundle_task(bundle_folder("seg_kd")) == "segmentation"
    assert bundle_task(bundle_folder("cls_kd")) == "classification"
    with pytest.raises(ValueError, match="not a bundle that segments or classifies slices"):
        bundle_task(bundle_folder("brats_seg_kd"))
    with pytest.raises(ValueError, match="has no weights"):
        bundle_task(bundle_folder("seg_teacher"))


def test_weights_of_ones_own_take_the_place_of_the_bundles(tmp_path, capsys):
    own = tmp_path / "own.pt"
    own.write_bytes(b"")
    assert bundle_task(bundle_folder("seg_teacher"), own) == "segmentation"
    assert Task([], "b", "w", "r").weights == Path("b/models/model.pt")
    assert Task([], "b", "w", "r", checkpoint=str(own)).weights == own
    words = ["serve-dicom", "--spool", str(tmp_path / "spool"), "--send-to", "A@127.0.0.1:4242"]
    assert main([*words, "--checkpoint", str(tmp_path / "none.pt")]) == 2
    assert f"{tmp_path / 'none.pt'}: there are no such weights" in capsys.readouterr().err
    assert not (tmp_path / "spool").exists()


def test_weights_of_several_images_are_refused_before_a_series_is_taken(tmp_path, monkeypatch, capsys):
    """The node took every series, and refused each."""
    monkeypatch.setattr("ckdmed.dicom_node.node.serve", lambda _: 0)
    # here PyTorch is in memory already
    monkeypatch.setattr("ckdmed.dicom_node.worker.ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"")
    words = ["serve-dicom", "--spool", str(tmp_path / "spool"), "--send-to", "A@127.0.0.1:4242"]
    for images, status in ((1, 0), (2, 2)):
        (tmp_path / "model.json").write_text(json.dumps({"settings": {"input_images": images, "epochs": 1}}))
        assert main([*words, "--checkpoint", str(weights)]) == status
    said = capsys.readouterr().err
    assert "its network takes 2 images of each input (input_images)" in said and "ckdmed run seg_kd infer" in said


def test_weights_without_a_record_are_refused_before_a_series_is_taken(tmp_path, monkeypatch, capsys):
    """The node listened, and every series failed."""
    monkeypatch.setattr("ckdmed.dicom_node.node.serve", lambda _: 0)
    monkeypatch.setattr("ckdmed.dicom_node.worker.ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    weights = tmp_path / "own.pt"
    weights.write_bytes(b"")
    words = ["serve-dicom", "--spool", str(tmp_path / "spool"), "--send-to", "A@127.0.0.1:4242"]
    for bundle in ("seg_kd", "cls_kd"):
        assert main([*words, "--checkpoint", str(weights), "--bundle", bundle]) == 2
        said = capsys.readouterr().err
        assert f"'{weights}' has no record of what it was trained with" in said
        assert "put that of its training" in said and "beside it as own.json" in said
    (tmp_path / "own.json").write_text('{"settings": {"epochs": 1}}')
    assert main([*words, "--checkpoint", str(weights)]) == 0
    (tmp_path / "own.json").write_text("{")
    assert main([*words, "--checkpoint", str(weights)]) == 2
    assert "own.json" in capsys.readouterr().err
    # those that ship with a bundle have one
    assert main(words) == 0


@pytest.mark.slow
def test_weights_are_checked_outside_of_the_nodes_own_process(tmp_path):
    (tmp_path / "own.pt").write_bytes(b"")
    (tmp_path / "own.json").write_text('{"settings": {"input_images": 3, "epochs": 1}}')
    words = ["--spool", str(tmp_path / "spool"), "--send-to", "A@127.0.0.1:4242", "--checkpoint", "own.pt"]
    program = [sys.executable, "-m", "ckdmed", "serve-dicom", *words]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "its network takes 3 images" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_block_that_cannot_be_read_is_named(tmp_path):
    files = write_mr_series(tmp_path / "mr", np.zeros((16, 16, 4), int))
    with pytest.raises(ValueError, match="2 of 2 blocks of slices cannot be read: .*constant|same value"):
        infer_in_blocks(files, bundle_folder("seg_kd"), tmp_path / "work", block=2)
