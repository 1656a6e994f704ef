"""The bundles' inference from end to end: every kind of input, on its own grid, with bad files named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from skimage.io import imread, imsave

import ckdmed
from ckdmed.bundle.run_lock import LOCK_NAME
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.file_hash import sha256_of
from ckdmed.networks import UNet, UNetViT
from tests.bundle.bundle_runs import record
from tests.data.dicom_phantom import write_series

pytestmark = pytest.mark.bundle
ROOT = Path(__file__).resolve().parent.parent.parent
SMALL: dict[str, dict[str, Any]] = {
    "seg_kd": {"student_kind": "unet", "student_base": 4},
    "seg_teacher": {"teacher_base": 4, "vit_img_size": 64, "vit_hidden": 24, "vit_layers": 1, "vit_heads": 2},
}


def network(bundle: str) -> torch.nn.Module:
    features = [4, 8, 16, 32, 64]
    if bundle == "seg_kd":
        return UNet(features=features)
    return UNetViT(features=features, vit_img_size=64, vit_hidden=24, vit_mlp=96, vit_layers=1, vit_heads=2)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, str]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    for bundle in SMALL:
        torch.save(network(bundle).state_dict(), folder / f"{bundle}.pt")
        record(folder / f"{bundle}.pt", bundle, image_size=64, **SMALL[bundle])
    return {bundle: str(folder / f"{bundle}.pt") for bundle in SMALL}


@pytest.fixture
def infer(checkpoints, monkeypatch):
    """Run a bundle's inference in this process; returns the report and the exit status."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(source: Path | None, out: Path, bundle: str = "seg_kd", **settings: Any) -> tuple[dict, int]:
        workflow = ConfigWorkflow(
            config_file=f"bundles/{bundle}/inference.json",
            workflow_type="inference",
            logging_file=False,
            **{
                "dataset_dir": source if source is None else str(source),
                "output_dir": str(out),
                "checkpoint": checkpoints[bundle],
                "image_size": 64,
                "tta": False,
                "device": "cpu",
                **SMALL[bundle],
                **settings,
            },
        )
        workflow.initialize()
        workflow.run()
        status = 0
        try:
            workflow.finalize()
        except SystemExit as end:
            status = int(end.code or 0)
        return json.loads((out / "report.json").read_text(encoding="utf-8")), status

    return run


def everything_below(folder: Path) -> set[str]:
    """Files, but for the lock that a run leaves."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != LOCK_NAME}


@pytest.mark.parametrize("bundle", sorted(SMALL))
def test_phantoms_where_nothing_is_given(infer, tmp_path, bundle):
    report, status = infer(None, tmp_path / "out", bundle)
    assert status == 0 and report["counts"]["done"] >= 6 and report["skipped"] == []
    assert imread(tmp_path / "out" / "1_mask.png").shape == (128, 128)


def test_one_of_every_kind(infer, tmp_path):
    source = tmp_path / "in"
    write_figshare_phantoms(source / "mat", n_patients=1, slices_per_patient=(1, 1), size=96, progress=False)
    rng = np.random.default_rng(0)
    volume = rng.integers(1, 900, (20, 18, 5)).astype(np.int16)
    volume[..., 0] = 0
    affine = np.array([[0, 0, 3.0, -9], [-0.7, 0, 0, 5], [0, 0.8, 0, 2], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(volume, affine), source / "volume.nii.gz")
    nib.save(nib.Nifti1Image(volume[..., 2], affine), source / "slice.nii")
    write_series(source / "series", volume[..., 1:])
    picture = rng.integers(0, 255, (30, 40), dtype=np.uint8)
    imsave(source / "picture.png", picture, check_contrast=False)
    imsave(source / "colour.jpg", np.stack([picture] * 3, axis=-1), check_contrast=False)
    before = everything_below(tmp_path)
    report, status = infer(source, tmp_path / "out")
    assert status == 0 and report["counts"]["done"] == 6
    out = tmp_path / "out"
    for name, shape in (("volume", (20, 18, 5)), ("slice", (20, 18)), ("series", (20, 18, 4))):
        mask, probability = (nib.load(out / f"{name}_{what}.nii.gz") for what in ("mask", "probability"))
        assert mask.shape == probability.shape == shape
        assert mask.get_data_dtype() == np.uint8 and probability.get_data_dtype() == np.float32
        values = probability.get_fdata()
        assert 0 <= values.min() < values.max() <= 1
        assert np.array_equal(mask.get_fdata(), values >= report["settings"]["threshold"])
        if name != "series":
            assert np.array_equal(mask.affine, nib.load(next(source.glob(f"{name}.*"))).affine)
    # the blank slice holds nothing, whatever the network says about it
    assert nib.load(out / "volume_probability.nii.gz").get_fdata()[..., 0].max() == 0
    for name, shape in (("mat/1", (96, 96)), ("picture", (30, 40)), ("colour", (30, 40))):
        mask, probability = imread(out / f"{name}_mask.png"), imread(out / f"{name}_probability.png")
        assert mask.shape == probability.shape == shape and set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask > 0, probability > report["settings"]["threshold"] * 65535)
        assert imread(out / f"{name}_overlay.png").shape[2] == 3
    new = everything_below(tmp_path) - before
    assert all(path.startswith("out/") for path in new) and len(new) == 6 * 3 + 4


def test_the_probability_is_the_networks_on_the_training_grid(infer, tmp_path, checkpoints):
    """Without resizing, the file holds sigmoid(network(scaled image)), upright as the training has it."""
    write_figshare_phantoms(tmp_path / "in", n_patients=1, slices_per_patient=(1, 1), size=64, progress=False)
    infer(tmp_path / "in" / "1.mat", tmp_path / "out")
    image = read_figshare_slice(tmp_path / "in" / "1.mat").image.astype(np.float32)
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
    net = network("seg_kd").eval()
    net.load_state_dict(torch.load(checkpoints["seg_kd"], weights_only=True))
    with torch.no_grad():
        expected = net(torch.from_numpy(scaled)[None, None]).sigmoid()[0, 0].numpy()
    found = imread(tmp_path / "out" / "1_probability.png") / 65535
    assert np.abs(found - expected).max() < 1e-4


def test_a_slice_of_a_volume_is_predicted_as_it_is_alone(infer, tmp_path):
    rng = np.random.default_rng(1)
    # slices of very different brightness: each is scaled by itself
    volume = rng.uniform(0, 1, (24, 20, 3)).astype(np.float32) * [1, 50, 9]
    affine = np.diag([-1.0, -1, 1, 1])
    nib.save(nib.Nifti1Image(volume.astype(np.float32), affine), tmp_path / "v.nii.gz")
    nib.save(nib.Nifti1Image(volume[..., 1].astype(np.float32), affine), tmp_path / "s.nii.gz")
    for batch_size in (1, 16):
        infer(tmp_path / "v.nii.gz", tmp_path / "out", batch_size=batch_size)
        infer(tmp_path / "s.nii.gz", tmp_path / "out")
        whole, alone = (nib.load(tmp_path / "out" / f"{n}_probability.nii.gz").get_fdata() for n in "vs")
        assert np.allclose(whole[..., 1], alone, atol=1e-5)


def test_settings_change_what_they_say(infer, tmp_path):
    volume = np.random.default_rng(2).uniform(0, 1, (20, 22, 24)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    found = {}
    for name, settings in {
        "plain": {},
        "text": {"tta": "false", "amp": "false", "slice_axis": 2},
        "tta": {"tta": True},
        "amp": {"amp": "bf16"},
        "sagittal": {"slice_axis": "sagittal"},
        "low": {"threshold": 0.0},
    }.items():
        infer(tmp_path / "v.nii.gz", tmp_path / name, **settings)
        found[name] = nib.load(tmp_path / name / "v_probability.nii.gz").get_fdata()
    assert np.array_equal(found["plain"], found["text"]) and np.array_equal(found["plain"], found["low"])
    assert np.abs(found["tta"] - found["plain"]).max() > 1e-4
    assert np.abs(found["sagittal"] - found["plain"]).max() > 1e-4
    assert 0 < np.abs(found["amp"] - found["plain"]).max() < 0.05
    assert nib.load(tmp_path / "low" / "v_mask.nii.gz").get_fdata().min() == 1


def test_workers_read_the_same(infer, tmp_path):
    write_figshare_phantoms(tmp_path / "in", n_patients=1, slices_per_patient=(3, 3), size=64, progress=False)
    for workers in (0, 2):
        report, _ = infer(tmp_path / "in", tmp_path / f"out{workers}", num_workers=workers)
        assert report["counts"]["done"] == 3
    for path in (tmp_path / "out0").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out2" / path.name).read_bytes()


def test_items_of_a_users_own(infer, tmp_path, checkpoints, monkeypatch):
    """MONAI lets a program set the data: items with nothing but an image are enough."""
    imsave(tmp_path / "a.png", np.eye(64, dtype=np.uint8) * 200, check_contrast=False)
    settings = {"output_dir": str(tmp_path / "out"), "checkpoint": checkpoints["seg_kd"], "image_size": 64}
    config = "bundles/seg_kd/inference.json"
    workflow = ConfigWorkflow(config, workflow_type="inference", logging_file=False, **settings, **SMALL["seg_kd"])
    workflow.initialize()
    workflow.dataset_data = [{"image": str(tmp_path / "a.png")}]
    workflow.initialize()
    workflow.evaluator.run()
    assert (tmp_path / "out" / "a_mask.png").is_file()
    # with the checkpoint's weights, although `run` was not called
    trained = torch.load(checkpoints["seg_kd"], weights_only=True)
    assert all(torch.equal(value, trained[name]) for name, value in workflow.network_def.state_dict().items())


def test_tta_of_a_mirrored_picture_is_the_mirrored_result(infer, tmp_path):
    picture = np.random.default_rng(3).integers(0, 255, (64, 64), dtype=np.uint8)
    imsave(tmp_path / "a.png", picture, check_contrast=False)
    imsave(tmp_path / "b.png", picture[:, ::-1], check_contrast=False)
    for name in "ab":
        infer(tmp_path / f"{name}.png", tmp_path / "out", tta=True)
    one, other = (imread(tmp_path / "out" / f"{name}_probability.png").astype(int) for name in "ab")
    assert np.abs(one - other[:, ::-1]).max() <= 2


def test_resume(infer, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    write_figshare_phantoms(source, n_patients=1, slices_per_patient=(3, 3), size=64, progress=False)
    infer(source, out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "2_mask.png").unlink()
    report, status = infer(source, out, resume=True)
    assert status == 0 and report["counts"] == {"done": 1, "kept": 2, "skipped": 0, "ignored": 2}
    changed = {path.name for path in out.glob("*.png") if times[path.name] != path.stat().st_mtime_ns}
    assert changed == {"2_mask.png", "2_probability.png", "2_overlay.png"}
    assert infer(source, out, resume=True)[0]["counts"]["done"] == 0
    assert infer(source, out)[0]["counts"]["done"] == 3


@pytest.mark.parametrize(
    ("bundle", "name", "shape"),
    [("seg_kd", "model", (1, 1)), ("seg_kd", "small", (1, 1)), ("cls_kd", "model", (1, 3))],
)
def test_the_checkpoint_that_ships_is_that_of_its_record_and_of_the_defaults(bundle, name, shape):
    folder = ROOT / "bundles" / bundle
    record = json.loads((folder / f"models/{name}.json").read_text(encoding="utf-8"))
    assert sha256_of(folder / f"models/{name}.pt") == record["sha256"]
    parser = ConfigParser()
    parser.read_config(str(folder / "inference.json"))
    settings = record["runs"][-1]["settings"]
    if settings.get("student_options"):
        # the channels of a pruned network stand in its record alone
        parser["student_options"] = settings["student_options"]
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / f"models/{name}.pt", weights_only=True), strict=True)
    named = ("image_size", "student_kind")
    assert {one: parser.get_parsed_content(one) for one in named} == {one: settings[one] for one in named}
    # an exported bundle may come without the record
    assert all(f", {settings[one]!r})" in parser[one] for one in named)
    size = settings["image_size"]
    with torch.no_grad():
        assert torch.isfinite(network(torch.rand(*shape, size, size))).all()


def test_a_checkpoint_of_another_width(infer, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        infer(None, tmp_path / "out", student_base=8)
    assert "--student_base is 8, but" in str(caught.value.__cause__) and "was trained with 4" in str(
        caught.value.__cause__
    )


def test_a_checkpoint_of_another_width_without_a_record(infer, checkpoints, tmp_path):
    alone = shutil.copy(checkpoints["seg_kd"], tmp_path / "alone.pt")
    with pytest.raises(RuntimeError) as caught:
        infer(None, tmp_path / "out", checkpoint=alone, student_base=8)
    assert "is a checkpoint of another network" in str(caught.value.__cause__)


@pytest.mark.parametrize("bundle", sorted(SMALL))
def test_monais_checks(bundle, checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = f"bundles/{bundle}/inference.json"
    settings = {"output_dir": str(tmp_path / "out"), "checkpoint": checkpoints[bundle], "image_size": 64}
    settings |= {"device": "cpu", **SMALL[bundle]}
    workflow = ConfigWorkflow(config_file=config, workflow_type="inference", logging_file=False, **settings)
    workflow.initialize()
    assert workflow.check_properties() == []
    io = {"num_channels": 1, "spatial_shape": [64, 64], "dtype": "float32", "value_range": [0, 1]}
    meta = tmp_path / "metadata.json"
    formats = {"inputs": {"image": io}, "outputs": {"pred": {**io, "value_range": []}}}
    meta.write_text(json.dumps({"version": "0", "network_data_format": formats}))
    overrides = {**SMALL[bundle], "device": "cpu", "image_size": 64}
    verify_net_in_out("network_def", meta_file=str(meta), config_file=config, **overrides)
    if bundle == "seg_kd":
        exported = tmp_path / "model.ts"
        ckpt_export(
            "network_def",
            filepath=str(exported),
            ckpt_file=checkpoints[bundle],
            meta_file=str(meta),
            config_file=config,
            **overrides,
        )
        script, net = torch.jit.load(exported).eval(), network(bundle).eval()
        net.load_state_dict(torch.load(checkpoints[bundle], weights_only=True))
        image = torch.rand(1, 1, 64, 64)
        assert torch.allclose(script(image), net(image), atol=1e-5)


def test_no_training_code_is_needed(checkpoints, tmp_path, monkeypatch, infer):
    """Neither the teacher's engines nor the losses are loaded by a run."""
    # the attributes as well: what a package still holds is found without an import. Both come back afterwards, the very
    # same modules, or a class imported by another test would no longer be the class that a bundle builds
    for name in ("engines", "losses"):
        monkeypatch.delattr(ckdmed, name)
    for name in [name for name in sys.modules if name.startswith(("ckdmed.engines", "ckdmed.losses"))]:
        monkeypatch.delitem(sys.modules, name)
    infer(None, tmp_path / "out")
    assert not [name for name in sys.modules if name.startswith(("ckdmed.engines", "ckdmed.losses"))]


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_real_slices_and_three_bad_files(infer, figshare_mat_dir, tmp_path, count):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    files = sorted(figshare_mat_dir.glob("*.mat"))[:count]
    for path in files:
        (source / path.name).symlink_to(path)
    (source / "truncated.mat").write_bytes(files[0].read_bytes()[:100_000])
    (source / "empty.mat").write_bytes(b"")
    (source / "text.mat").write_text("these are no slices\n" * 100)
    report, status = infer(source, out)
    assert status == 3
    assert report["counts"] == {"done": count, "kept": 0, "skipped": 3, "ignored": 0}
    causes = {Path(entry["file"]).name: entry["cause"] for entry in report["skipped"]}
    assert "truncated.mat: truncated" in causes["truncated.mat"]
    assert "empty.mat: the file is empty" in causes["empty.mat"]
    assert "text.mat: not a MATLAB v7.3 file" in causes["text.mat"]
    for path in files:
        mask = imread(out / f"{path.stem}_mask.png")
        assert mask.shape == read_figshare_slice(path).image.shape and mask.dtype == np.uint8
    assert len(everything_below(out)) == count * 3 + 4


@pytest.mark.slow
def test_real_brats_volume(infer, shared_data, tmp_path):
    path = shared_data / "brats2023" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1c.nii.gz"
    if not path.is_file():
        pytest.skip(f"real data absent: {path}")
    _, status = infer(path, tmp_path / "out")
    original = nib.load(path)
    mask, probability = (
        nib.load(tmp_path / "out" / f"BraTS-GLI-00001-000-t1c_{what}.nii.gz") for what in ("mask", "probability")
    )
    assert status == 0 and mask.shape == probability.shape == original.shape == (240, 240, 155)
    assert np.array_equal(mask.affine, original.affine) and np.array_equal(probability.affine, original.affine)
    assert np.array_equal(mask.header.get_zooms(), original.header.get_zooms())
    blank = np.asarray(original.dataobj).max(axis=(0, 1)) == 0
    assert blank.any() and np.asarray(mask.dataobj)[..., blank].max() == 0


def test_real_dicom_series(infer, shared_data, tmp_path):
    folder = shared_data / "dicom" / "t1w"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder}")
    _, status = infer(folder, tmp_path / "out")
    series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    # SimpleITK turns the NIfTI's RAS back into LPS
    mask = sitk.ReadImage(str(tmp_path / "out" / "t1w_mask.nii.gz"))
    assert status == 0 and mask.GetSize() == series.GetSize()
    assert mask.GetPixelID() == sitk.sitkUInt8
    for index in ((0, 0, 0), (273, 0, 0), (0, 383, 0), (273, 383, 47)):
        there, here = series.TransformIndexToPhysicalPoint(index), mask.TransformIndexToPhysicalPoint(index)
        assert np.allclose(there, here, atol=0.02)


def test_real_jpegs(infer, shared_data, tmp_path):
    files = sorted((shared_data / "figshare_jpeg" / "images").glob("*"))[:2]
    if not files:
        pytest.skip("real data absent: figshare_jpeg/images")
    (tmp_path / "in").mkdir()
    for path in files:
        shutil.copy(path, tmp_path / "in")
    report, status = infer(tmp_path / "in", tmp_path / "out")
    assert status == 0 and report["counts"]["done"] == 2
    for path in files:
        assert imread(tmp_path / "out" / f"{path.stem}_mask.png").shape == imread(path).shape[:2]


@pytest.mark.slow
def test_the_process_ends_with_status_3_and_the_list(checkpoints, tmp_path):
    (tmp_path / "in").mkdir()
    imsave(tmp_path / "in" / "a.png", np.eye(64, dtype=np.uint8) * 200, check_contrast=False)
    (tmp_path / "in" / "b.png").write_bytes(b"")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "bundles/seg_kd/inference.json"]
    command += ["--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    command += ["--student_kind", "unet", "--student_base", "4"]
    command += ["--image_size", "64", "--checkpoint", checkpoints["seg_kd"], "--tta", "false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 3, done.stderr
    assert "b.png: the file is empty (0 bytes)." in done.stdout.splitlines()[-2]
    assert "1 input was skipped" in done.stdout.splitlines()[-1]
    assert (tmp_path / "out" / "a_mask.png").is_file()
