"""The exports as MONAI Deploy's `MonaiBundleInferenceOperator` uses them.

The operator itself is run where the App SDK is installed (`monai-deploy-app-sdk`); its steps stand in for it
elsewhere, which is what the SDK 4.0.0 does between the image that it receives and the one that it sends.
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from tests.export.tiny import BUNDLES

SAMPLE = ("seg_kd", "cls_kd", "brats_unimodal_kd")
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
