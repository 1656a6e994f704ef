"""Bundles as teachers of single slices, of classifiers, and beside other teachers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.transforms import imagenet_input
from ckdmed.zoo_teacher import (
    class_taps_of,
    class_teacher_of,
    match_outputs,
    slice_teacher_of,
    teacher_ensemble_of,
)
from tests.zoo_teacher.test_zoo_teacher import zoo_bundle

SEGMENTATION = {
    "_target_": "SegResNet",
    "spatial_dims": 2,
    "init_filters": 8,
    "in_channels": 1,
    "out_channels": 1,
    "blocks_down": [1, 1, 1, 1],
    "blocks_up": [1, 1, 1],
}
CLASSIFIER = {
    "_target_": "DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [2, 2, 2, 2],
}
UNIT = {"_target_": "ScaleIntensityd", "keys": "image"}
CLASSES = ("meningioma", "glioma", "pituitary tumour")


def slice_bundle(
    folder: Path,
    network: dict[str, Any],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    scaling: dict[str, Any] = UNIT,
    postprocessing: Any = None,
) -> nn.Module:
    """A bundle of slices in the Model Zoo's layout; returns its network with its weights."""
    torch.manual_seed(0)
    parser = ConfigParser({"network_def": network})
    made: nn.Module = parser.get_parsed_content("network_def").eval()
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    torch.save(made.state_dict(), folder / "models" / "model.pt")
    preprocessing = {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}, scaling]}
    activation = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    config = {
        "bundle_root": "/workspace/x",
        "network_def": network,
        "preprocessing": preprocessing,
        "flag": True,
        "activation": activation,
        "steps": {"_target_": "Compose", "transforms": [activation]},
    }
    if postprocessing is not None:
        config["postprocessing"] = postprocessing
    (folder / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    named = [{"channel_def": {str(i): name for i, name in enumerate(names)}} for names in (inputs, outputs)]
    formats = {"inputs": {"image": named[0]}, "outputs": {"pred": named[1]}}
    metadata = json.dumps({"network_data_format": formats})
    (folder / "configs" / "metadata.json").write_text(metadata, encoding="utf-8")
    return made


def segmentation_bundle(folder: Path, **changes: Any) -> nn.Module:
    return slice_bundle(folder, **{"network": SEGMENTATION, "inputs": ("T1c",), "outputs": ("Tumor",), **changes})


def class_bundle(folder: Path, **changes: Any) -> nn.Module:
    names = ("Pituitary tumor", "Glioma", "Meningioma")
    return slice_bundle(folder, **{"network": CLASSIFIER, "inputs": ("T1 contrast",), "outputs": names, **changes})


GIVEN: dict[str, Any] = {"trusted": True, "images": ["t1c"], "regions": ["tumour"], "size": (32, 32), "scaling": "unit"}


def test_a_segmentation_of_slices(tmp_path: Path) -> None:
    own = segmentation_bundle(tmp_path / "zoo")
    teacher = slice_teacher_of(str(tmp_path / "zoo"), **GIVEN)
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(teacher(image), own(image)) and set(teacher.decoder_taps) == {"d4", "d3", "d2", "d1"}


@pytest.mark.parametrize(
    ("more", "step", "told"),
    [
        (
            {},
            {"_target_": "Resized", "keys": "image", "spatial_size": [256, 256]},
            "preprocessed with Resized spatial_size=[256",
        ),
        ({"size": [64, 32]}, {"_target_": "Resized", "keys": "image", "spatial_size": "@size"}, "spatial_size=[64, 32"),
        ({"size": [32, 32]}, {"_target_": "Resized", "keys": "image", "spatial_size": "@size"}, None),
        ({}, {"_target_": "Resized", "keys": "image", "spatial_size": 32}, None),
        (
            {},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1]},
            "preprocessed with Spacingd pixdim=[1, 1]; it sees",
        ),
        # as bundles of this package are written
        (
            {"image_size": 256},
            UNIT,
            "preprocessed with image_size=256; it sees the student's, slices of 32 x 32 pixels",
        ),
        ({"image_size": 32}, UNIT, None),
    ],
)
def test_slices_of_another_size_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: dict, step: dict, told: str | None
) -> None:
    segmentation_bundle(tmp_path / "zoo")
    config = tmp_path / "zoo" / "configs" / "inference.json"
    content = {**json.loads(config.read_text(encoding="utf-8")), **more}
    if step is not UNIT:
        content["preprocessing"]["transforms"].append(step)
    config.write_text(json.dumps(content), encoding="utf-8")
    slice_teacher_of(str(tmp_path / "zoo"), **GIVEN)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert bool(warned) == (told is not None) and (told is None or told in warned[0])


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, {"trusted": False}, "is code: .*--trust_bundle true"),
        (
            {},
            {"images": None},
            r"its channels 0: 'T1c'; say which of them the student sees \(1 image\), such as --teacher_bun",
        ),
        ({"inputs": ("FLAIR",)}, {}, "channels 0: 'FLAIR' read as none of the modalities t1c"),
        ({}, {"regions": ["core"]}, "no region that reads as core; its metadata name 0: 'Tumor'"),
        ({}, {"scaling": "percentiles"}, "are not those of --scaling percentiles .*: give the student --scaling unit"),
        (
            {},
            {"clahe": True},
            "are not those of --scaling unit --clahe true: give the student --scaling unit --clahe false",
        ),
        (
            {"scaling": {**UNIT, "maxv": 255}},
            {},
            r"\(ScaleIntensityd\) are not those of .*that needs one NormalizeIntensityd",
        ),
        ({}, {"checkpoint": "x.pt"}, "--teacher_checkpoint brings others"),
        ({}, {"folds": 3}, "--teacher_folds 3 brings others"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict, given: dict, message: str) -> None:
    segmentation_bundle(tmp_path / "zoo", **changes)
    with pytest.raises(ValueError, match=message):
        slice_teacher_of(str(tmp_path / "zoo"), **{**GIVEN, **given})


def activations(**words: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "keys": "pred", **words}]}


@pytest.mark.parametrize(
    ("outputs", "postprocessing", "softmax"),
    [
        (("background", "Tumor"), None, True),
        (("background", "Tumor"), activations(softmax=True), True),
        (("other", "Tumor"), activations(argmax=[True, False]), True),
        (("background", "Tumor"), activations(sigmoid=True), False),
        (("other", "Tumor"), None, False),
        # the same said elsewhere in the configuration, by an expression, or beside what is disabled
        (("other", "Tumor"), {"_target_": "Compose", "transforms": ["@activation"]}, True),
        (("other", "Tumor"), "@steps", True),
        (("other", "Tumor"), activations(softmax="@flag"), True),
        (("other", "Tumor"), "$monai.transforms.Activationsd('pred', softmax=True)", True),
        (("other", "Tumor"), "$monai.transforms.Activationsd('pred', sigmoid=True, softmax=False)", False),
        (("other", "Tumor"), [activations(sigmoid=True, _disabled_="@flag"), activations(softmax=True)], True),
    ],
)
def test_a_class_of_a_softmax_has_its_probability(
    tmp_path: Path, outputs: tuple[str, str], postprocessing: Any, softmax: bool
) -> None:
    network = {**SEGMENTATION, "out_channels": 2}
    own = segmentation_bundle(tmp_path / "zoo", network=network, outputs=outputs, postprocessing=postprocessing)
    teacher = slice_teacher_of(str(tmp_path / "zoo"), **GIVEN)
    image = torch.rand(2, 1, 32, 32)
    logits = own(image)
    expected = logits.softmax(dim=1)[:, 1:] if softmax else logits[:, 1:].sigmoid()
    torch.testing.assert_close(teacher(image).sigmoid(), expected)


def test_channels_that_are_counted_from_one_are_refused(tmp_path: Path) -> None:
    segmentation_bundle(tmp_path / "zoo", network={**SEGMENTATION, "out_channels": 2}, outputs=("Tumor", "other"))
    path = tmp_path / "zoo" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"1": "Tumor", "2": "other"}
    path.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ValueError, match="number the channels of outputs as 1, 2 .*run from 0 to 1"):
        slice_teacher_of(str(tmp_path / "zoo"), **GIVEN)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metadata.json", "{", "metadata.json' is not a configuration that MONAI can read"),
        ("metadata.json", "[1]", "metadata.json' is not a configuration that MONAI can read"),
        ("inference.json", '{"network_def": {"_target_": "scripts.own.Net"}}', "PYTHONPATH=.*zoo"),
        (
            "inference.json",
            '{"network_def": {"_target_": "SegResNet", "width": 8}}',
            "cannot be built .TypeError.*width",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    segmentation_bundle(tmp_path / "zoo")
    path = tmp_path / "zoo" / "configs" / file
    if content.startswith('{"n'):
        content = json.dumps({**json.loads(path.read_text(encoding="utf-8")), **json.loads(content)})
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        slice_teacher_of(str(tmp_path / "zoo"), **GIVEN)


@pytest.mark.parametrize("scaling", ["unit", "zscore"])
def test_a_classifier_sees_the_image_before_imagenet(tmp_path: Path, scaling: str) -> None:
    step = UNIT if scaling == "unit" else {"_target_": "NormalizeIntensityd", "keys": "image"}
    own = class_bundle(tmp_path / "zoo", scaling=step)
    given = {"trusted": True, "class_names": CLASSES, "size": (32, 32), "scaling": scaling}
    teacher = class_teacher_of(str(tmp_path / "zoo"), **given).eval()
    grey = torch.rand(1, 32, 32)
    shown = imagenet_input(scaling=scaling)({"image": grey})["image"][None]
    # the student's classes are in another order than the bundle's
    torch.testing.assert_close(teacher(shown), own(grey[None])[:, [2, 1, 0]], atol=1e-5, rtol=1e-5)
    (name, path), *others = class_taps_of(teacher).items()
    seen: list[torch.Tensor] = []
    teacher.get_submodule(path).register_forward_hook(lambda _m, _i, output: seen.append(output))
    teacher(shown)
    assert name == "msgff" and not others and seen[0].shape[2:] == (2, 2)


def test_a_classifier_of_another_sequence_is_refused(tmp_path: Path) -> None:
    class_bundle(tmp_path / "zoo", inputs=("T2",))
    given = {"trusted": True, "class_names": CLASSES, "size": (32, 32), "scaling": "unit"}
    with pytest.raises(ValueError, match=r"channels \['T2'\] of .* read as none of the modalities t1c"):
        class_teacher_of(str(tmp_path / "zoo"), **given)


def test_names_of_outputs() -> None:
    assert match_outputs({0: "Pituitary tumor", 1: "glioma"}, ["glioma", "pituitary tumour"], "class") == [1, 0]
    assert match_outputs({0: "background", 1: "Whole tumor"}, ["WT"], "region") == [1]
    with pytest.raises(ValueError, match="both read as the class glioma"):
        match_outputs({0: "Glioma", 1: "glioma"}, ["glioma"], "class")


def ensemble(bundle: Path, teachers: list[list[str]], **changes: Any) -> Any:
    modalities = ["t1n", "t1c", "t2w", "t2f"]
    views = {"-".join(own): [modalities.index(name) for name in own] for own in teachers}
    settings = {"trusted": True, "size": (32, 32), "kind": "segresnet", "base": 4, "spatial_dims": 2, "out_channels": 3}
    return teacher_ensemble_of(str(bundle), teachers=teachers, views=views, **{**settings, **changes})


def test_a_bundle_among_teachers_of_several_views(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    made = ensemble(tmp_path / "zoo", [["t1c", "t2f"], ["t1n", "t1c", "t2w", "t2f"]])
    ours, theirs = made.networks.values()
    assert theirs.trained_elsewhere.startswith("the bundle") and not hasattr(ours, "trained_elsewhere")
    image = torch.randn(1, 4, 32, 32)
    assert torch.equal(made.eval()(image)[:, 3:], theirs(image))


@pytest.mark.parametrize(
    ("teachers", "changes", "message"),
    [
        ([["t1c"]], {}, "sees t1c, t1n, t2w, t2f, and none of the teachers .* sees exactly these: add them to --teach"),
        ([["t1n", "t1c", "t2w", "t2f"]], {"augmentation": "report"}, "--augmentation report adds noise to the backgr"),
        ([["t1n", "t1c", "t2w", "t2f"]], {"mode": "online"}, "give --teacher_mode frozen or fusion"),
        (
            [["t1n", "t1c", "t2w", "t2f"]],
            {"checkpoints": {"t1n-t1c-t2w-t2f": "x.pt"}},
            "--teacher_checkpoints names another",
        ),
    ],
)
def test_views_that_do_not_fit(tmp_path: Path, teachers: list, changes: dict, message: str) -> None:
    zoo_bundle(tmp_path / "zoo")
    with pytest.raises(ValueError, match=message):
        ensemble(tmp_path / "zoo", teachers, **changes)
