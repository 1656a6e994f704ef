"""The exports as MONAI Deploy's `MonaiBundleInferenceOperator` uses them.

The operator itself is run where the App SDK is installed (`monai-deploy-app-sdk`); its steps stand in for it
elsewhere, which is what the SDK 4.0.0 does between the image that it receives and the one that it sends. The
application of docs/examples is run where the SDK is installed, and nowhere else.
"""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.slice_reader import SliceReader
from ckdmed.export import export_bundle
from tests.dicom_results.mr_series import write_mr_series
from tests.export.tiny import BUNDLES, ROOT

SAMPLE = ("seg_kd", "cls_kd")
AFFINE = np.array([[-1, 0, 0, 20], [0, -1, 0, 20], [0, 0, 2, 0], [0, 0, 0, 1]], dtype=float)
SHAPE = (40, 44, 6)
STOCK = importlib.util.find_spec("monai.deploy") is not None


@pytest.fixture(
    params=[name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in BUNDLES],
)
def export(request: pytest.FixtureRequest, exports: Any) -> Path:
    return exports(request.param).folder


def modalities_of(folder: Path) -> list[str]:
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    names = [name for name in ("student_modalities", "modalities") if name in parser.get()]
    return parser.get_parsed_content(names[0]) if names else ["t1c"]


def volume_of(folder: Path) -> np.ndarray:
    count = len(modalities_of(folder)) if "brats_" in folder.name else 1
    values = np.random.default_rng(0).random((count, *SHAPE)).astype(np.float32) * 100
    # a border of air
    values[:, :5] = 0
    return values


def inferred(folder: Path, volume: np.ndarray) -> Any:
    """``pred`` for a volume (C, W, H, D), by the operator or by its steps."""
    meta = {"spacing": [1, 1, 2], "original_affine": AFFINE, "affine": AFFINE, "original_channel_dim": 0}
    return by_the_operator(folder, volume, meta) if STOCK else by_its_steps(folder, volume, meta)


def by_the_operator(folder: Path, volume: np.ndarray, meta: dict[str, Any]) -> Any:
    from monai.deploy.core import AppContext, Application, Image, IOType
    from monai.deploy.operators import IOMapping, MonaiBundleInferenceOperator

    class App(Application):
        def compose(self) -> None:
            """Nothing: the operator is called by hand."""

    class Ports:
        sent: Any = None

        def receive(self, _: str) -> Image:
            return Image(volume, metadata=meta)

        def get(self, _: str) -> None:
            """No folder to write to."""

        def emit(self, value: Any, _: str) -> None:
            self.sent = value

    operator = MonaiBundleInferenceOperator(
        App(),
        app_context=AppContext({}),
        input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
        output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
        bundle_path=folder,
        name="bundle",
    )
    ports = Ports()
    operator.compute(ports, ports, None)
    if isinstance(ports.sent, Image):
        return np.swapaxes(ports.sent.asnumpy(), 0, 2)
    return ports.sent["probabilities"]


def by_its_steps(folder: Path, volume: np.ndarray, meta: dict[str, Any]) -> Any:
    parser = ConfigParser()
    parser.read_meta(str(folder / "configs/metadata.json"))
    parser.read_config(str(folder / "configs/inference.json"))
    preprocessing, inferer, postprocessing = (
        parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")
    )
    names = [type(step).__name__ for step in (*preprocessing.transforms, *postprocessing.transforms)]
    # the operator takes such steps out, and hands the image over itself
    assert not any("LoadImage" in name or "SaveImage" in name for name in names)
    network = torch.jit.load(str(folder / "models/model.ts")).eval()
    image = MetaTensor.ensure_torch_and_prune_meta(torch.from_numpy(volume), meta)
    with torch.no_grad():
        item = preprocessing({"image": image})
        first = item.pop("image")
        # every further tensor goes to the network, as an argument that it does not know
        others = {key: value[None] for key, value in item.items() if isinstance(value, torch.Tensor)}
        output = inferer(inputs=first[None], network=network, **others)[0]
        pred = postprocessing({"pred": output, **item, "image": first})["pred"]
    # of the image that it sends
    assert isinstance(first, MetaTensor)
    values = pred.cpu().numpy()
    kind = parser.get("_meta_")["network_data_format"]["outputs"]["pred"]["type"]
    return values if kind == "probabilities" else np.squeeze(values, 0).astype(np.uint8)


def by_inference(folder: Path, volume: np.ndarray, work: Path) -> np.ndarray:
    """What `inference.json` writes of the same volume, saved as NIfTI."""
    from monai.bundle import ConfigWorkflow

    inputs = work / "inputs" / "case1"
    inputs.mkdir(parents=True)
    for name, values in zip(modalities_of(folder), volume, strict=True):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), inputs / f"case1_{name}.nii.gz")
    workflow = ConfigWorkflow(
        config_file=str(folder / "configs/inference.json"),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(folder),
        dataset_dir=str(inputs.parent),
        output_dir=str(work / "out"),
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    masks = [*(work / "out").rglob("*_mask.nii.gz"), *(work / "out").rglob("*_seg.nii.gz")]
    if not masks:
        (table,) = (work / "out").rglob("case1_*_probabilities.csv")
        with open(table, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return np.array([[float(v) for k, v in row.items() if k.startswith("probability_")] for row in rows])
    return np.asarray(nibabel.load(masks[0]).dataobj)


def test_the_operator_gives_the_result_of_inference_json(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume = volume_of(export)
    result = inferred(export, volume)
    expected = by_inference(export, volume, tmp_path)
    if result.ndim == 2:
        np.testing.assert_allclose(result, expected, atol=1e-4)
        return
    assert result.shape == SHAPE
    np.testing.assert_array_equal(result, expected)
    assert set(np.unique(result)) <= ({0, 1} if "brats_" not in export.name else {0, 1, 2, 3})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the student that ships, which finds the tumours of phantoms."""
    bundle = ROOT / "bundles/seg_kd"
    output = tmp_path_factory.mktemp("shipped") / "brain_tumour_seg_kd"
    return export_bundle(bundle, bundle / "models/model.pt", output).folder


def write_series(folder: Path, plane: str) -> list[Path]:
    """Slices of phantoms as a series of an axial, oblique or coronal plane; gives its files."""
    phantoms = write_figshare_phantoms(folder.with_name("phantoms"), 2, (3, 3), 128, progress=False).parent
    reader = SliceReader()
    slices = [reader.get_data(reader.read(path))[0][0].T for path in sorted(phantoms.rglob("*.mat"))[:6]]
    volume = np.round(np.stack(slices, axis=-1)).astype(np.int16)
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    coronal = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    return write_mr_series(folder, volume, direction={"axial": None, "oblique": turn, "coronal": coronal}[plane])


@pytest.mark.slow
@pytest.mark.parametrize("plane", ["axial", "oblique", "coronal", "real"])
def test_the_application_writes_the_mask_of_inference_json(shipped, request, tmp_path, plane):
    if not STOCK:
        pytest.skip("monai-deploy-app-sdk is not installed")
    highdicom = pytest.importorskip("highdicom")
    study = tmp_path / "study"
    if plane == "real":
        study.mkdir()
        # of the middle of the head
        for file in sorted((request.getfixturevalue("shared_data") / "dicom/t1w").iterdir())[20:28]:
            (study / file.name).symlink_to(file)
        files = sorted(study.iterdir())
    else:
        files = write_series(study, plane)
    app, out = ROOT / "docs/examples/monai_deploy_app.py", tmp_path / "results"
    words = ["--input", study, "--output", out, "--model", shipped / "models/model.ts"]
    subprocess.run([sys.executable, str(app), *map(str, words)], check=True, cwd=tmp_path)
    infer = ["run", shipped, "infer", "--dataset_dir", study, "--output_dir", tmp_path / "masks"]
    subprocess.run([sys.executable, "-m", "ckdmed", *map(str, infer)], check=True, cwd=tmp_path)
    (written,) = out.glob("*.dcm")
    segments = highdicom.seg.segread(written)
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    # frames of slices without a tumour are left out
    found = segments.get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in images],
        segment_numbers=[1],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )[..., 0]
    (mask,) = (tmp_path / "masks").rglob("*_mask.nii.gz")
    expected = nibabel.load(mask)
    values = np.asarray(expected.dataobj)
    # each file's place in the mask, by geometry alone
    to_voxels = np.linalg.inv(expected.affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    for image, frame in zip(images, found, strict=True):
        corner = to_voxels @ lps @ [*map(float, image.ImagePositionPatient), 1]
        assert np.allclose(corner[:2], 0, atol=1e-2) and abs(corner[2] - round(corner[2])) < 1e-2
        np.testing.assert_array_equal(frame, values[:, :, round(corner[2])].T)
    assert found.sum() == values.sum() and (plane == "real" or values.any())
