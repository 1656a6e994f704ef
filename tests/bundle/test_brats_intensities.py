"""The intensities of the BraTS bundles: what a training makes of a case is what an evaluation and an inference make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import Compose, LoadImaged

from ckdmed.bundle import brats_classes, class_names_of
from ckdmed.bundle.errors import root_cause
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.recipes import class_preprocessing, class_slices
from ckdmed.transforms import imagenet_input
from ckdmed.transforms.classification import SCALINGS
from tests.bundle.brats_runs import TINY
from tests.bundle.bundle_runs import opened, record

pytestmark = pytest.mark.bundle
TEACHER = {"teacher_kind": "unet", "teacher_base": 2}
#: of the network that is trained, and what a training needs beside it
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "brats_seg_teacher": (TEACHER, {}),
    "brats_seg_kd": ({"student_base": 2}, TEACHER),
    "brats_unimodal_kd": ({"student_base": 2}, TEACHER),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases whose edges are no multiples of CLAHE's tiles."""
    folder = tmp_path_factory.mktemp("brats") / "data"
    write_brats_phantoms(folder, 4, (42, 38, 20), progress=False)
    return folder


def three_images(bundle: str, run: Path, cases: Path, **settings: Any) -> list[torch.Tensor]:
    """The first validation case as training, evaluation and inference hand it to the network, (C, *spatial)."""
    own, beside = SIZES[bundle]
    sizes = {**TINY, "image_size": 48, **own, **settings}
    training = opened(bundle, output_dir=str(run), dataset_dir=str(cases), profile="demo", **sizes, **beside).parser
    weights = run / "models" / "model.pt"
    weights.parent.mkdir(parents=True)
    torch.save(training.get_parsed_content("network_def").state_dict(), weights)
    record(weights, bundle, **{key: value for key, value in sizes.items() if key != "device"})
    common = {"dataset_dir": str(cases), "checkpoint": str(weights), "device": TINY["device"]}
    evaluation = opened(bundle, "train.json", "evaluate.json", output_dir=str(run), **common).parser
    item = training.get_parsed_content("sections")["validation"][0]
    scored = evaluation.get_parsed_content("validate#preprocessing")(dict(item))["image"]
    common["dataset_dir"] = str(Path(item["image"][0]).parent)
    inferred = opened(bundle, "inference.json", output_dir=str(run / "inference"), **common).parser
    dataset = training.get_parsed_content("validate#dataset")
    if settings.get("spatial_dims", 2) == 3:
        trained = dataset[0]["image"].float()
    else:
        slices = {
            dataset.read(i)["slice"]: dataset[i]["image"] for i in range(len(dataset)) if not dataset.index.case[i]
        }
        empty = torch.zeros_like(next(iter(slices.values())))
        trained = torch.stack([slices.get(number, empty) for number in range(scored.shape[-1])], -1)
    if bundle == "brats_unimodal_kd":
        trained = trained[training.get_parsed_content("student_channels")]
    images = [trained, scored, inferred.get_parsed_content("dataset")[0]["image"]]
    return [torch.as_tensor(image).as_subclass(torch.Tensor) for image in images]


def assert_alike(images: list[torch.Tensor]) -> None:
    trained, scored, inferred = images
    assert torch.equal(scored, inferred) and trained.shape == scored.shape and scored.std() > 0.1
    # a training keeps half precision
    torch.testing.assert_close(trained, scored, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("bundle", "settings"),
    [
        ("brats_seg_teacher", {"scaling": "report", "clahe": True}),
        ("brats_seg_kd", {"scaling": "unit", "clahe": "global", "spatial_dims": 3}),
        ("brats_unimodal_kd", {"scaling": "percentiles"}),
    ],
)
def test_one_image_in_every_use(tmp_path: Path, cases: Path, bundle: str, settings: dict[str, Any]) -> None:
    assert_alike(three_images(bundle, tmp_path, cases, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("clahe", [False, True, "global"])
@pytest.mark.parametrize("scaling", ["zscore", "percentiles", "unit", "report"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_kind(tmp_path: Path, cases: Path, spatial_dims: int, scaling: str, clahe: bool | str) -> None:
    settings = {"spatial_dims": spatial_dims, "scaling": scaling, "clahe": clahe}
    assert_alike(three_images("brats_seg_kd", tmp_path, cases, **settings))


@pytest.fixture(scope="module")
def slices(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The slices of a training of the classification bundles."""
    names = class_names_of("brats_slice")
    cache = str(tmp_path_factory.mktemp("cut"))
    sections = brats_classes("brats_slice", str(cases), "", cache, names, ["t1c", "t2f"])
    return [item for item in sections["train"] if item["case"] == sections["train"][0]["case"]]


@pytest.mark.parametrize("clahe", [False, True, "global"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_one_image_in_every_use_of_a_classifier(
    cases: Path, slices: list[dict[str, Any]], scaling: str, clahe: bool | str
) -> None:
    modalities, task = ["t1c", "t2f"], "brats_slice"
    training = Compose(
        [class_preprocessing(48, scaling, modalities, task, clahe), imagenet_input(modalities=2, scaling=scaling)]
    )
    name = slices[0]["case"]
    volume = LoadImaged("image")({"image": [str(cases / name / f"{name}-{m}.nii.gz") for m in modalities]})
    inferred = class_slices(48, scaling, modalities, task, clahe)(volume)
    numbers = list(inferred["slices"])
    # a cache keeps half precision
    far = 1e-6 if clahe or scaling == "report" else 5e-3
    for item in slices:
        trained = training(dict(item))["image"]
        other = torch.as_tensor(inferred["image"])[numbers.index(item["slice"])]
        assert (trained - other).abs().max() < far


def test_weights_of_before_see_z_scores_and_others_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "model.pt", "brats_seg_kd", student_base=2, spatial_dims=2, modalities=["t1c"])
    path = tmp_path / "model.json"
    text = path.read_text(encoding="utf-8")
    assert '"scaling": "zscore"' in text
    path.write_text(text.replace('"scaling": "zscore",', "").replace('"clahe": false,', ""), encoding="utf-8")
    given = {"checkpoint": str(tmp_path / "model.pt"), "dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "o")}
    made = opened("brats_seg_kd", "inference.json", **given)
    assert (made.parser.get_parsed_content("scaling"), made.parser.get_parsed_content("clahe")) == ("zscore", False)
    with pytest.raises(RuntimeError) as caught:
        opened("brats_seg_kd", "inference.json", scaling="unit", **given)
    assert "--scaling is 'unit', but" in str(root_cause(caught.value)) and "'zscore'" in str(root_cause(caught.value))
