from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import SegResNet
from monai.transforms import NormalizeIntensity

from ckdmed.networks.taps import Taps
from ckdmed.zoo_teacher import (
    ZooTeacher,
    decoder_taps,
    match_modalities,
    match_regions,
    segmentation_teacher_of,
    zoo_teacher,
)
from ckdmed.zoo_teacher.channel_names import sequences
from ckdmed.zoo_teacher.intensities import NonzeroScaling

MODALITIES = ["t1n", "t1c", "t2w", "t2f"]
NETWORK = {
    "_target_": "SegResNet",
    "spatial_dims": 2,
    "init_filters": 8,
    "in_channels": 4,
    "out_channels": 3,
    "blocks_down": [1, 1, 1, 1],
    "blocks_up": [1, 1, 1],
}
SCALING = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}


def channels(*names: str) -> dict[str, Any]:
    return {"num_channels": len(names), "channel_def": {str(i): name for i, name in enumerate(names)}}


def zoo_bundle(
    folder: Path,
    inputs: tuple[str, ...] = ("T1c", "T1", "T2", "FLAIR"),
    outputs: tuple[str, ...] = ("Tumor core", "Whole tumor", "Enhancing tumor"),
    scaling: Any = SCALING,
    spatial_dims: int = 2,
) -> SegResNet:
    """A bundle in the Model Zoo's layout; returns its network with its weights."""
    torch.manual_seed(0)
    sizes = {**NETWORK, "spatial_dims": spatial_dims}
    network = SegResNet(**{key: value for key, value in sizes.items() if key != "_target_"}).eval()
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    steps = [{"_target_": "LoadImaged", "keys": "image"}, *([scaling] if scaling else [])]
    config = {
        "imports": ["$import glob"],
        "bundle_root": "/workspace/brats",
        "device": "$torch.device('cpu')",
        "network_def": sizes,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    formats = {"inputs": {"image": channels(*inputs)}, "outputs": {"pred": channels(*outputs)}}
    metadata = {"network_data_format": formats}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return network


def student_images() -> torch.Tensor:
    """Z-scores with a background of 0."""
    image = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    image[:, :, :8] = 0
    return image


def test_a_bundle_of_the_zoo(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = zoo_bundle(tmp_path / "zoo")
    with caplog.at_level(logging.INFO):
        teacher = zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)
    assert "its channel 0 ('T1c') is the student's t1c" in caplog.text
    assert "its output 2 ('Enhancing tumor') is the student's ET" in caplog.text
    image = student_images()
    scale = NormalizeIntensity(nonzero=True, channel_wise=True)
    seen = torch.stack([torch.as_tensor(scale(sample[[1, 0, 2, 3]])) for sample in image])
    torch.testing.assert_close(teacher(image), own(seen), atol=1e-4, rtol=1e-4)
    # a linear change of the student's scale inside the brain changes nothing
    other = torch.where(image != 0, 3 * image + 5, image)
    torch.testing.assert_close(teacher(other), teacher(image), atol=1e-3, rtol=1e-3)


def test_the_decoder_is_found_as_it_is_known_of_segresnet(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    teacher = zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)
    assert teacher.decoder_taps == {
        "d4": "network.down_layers.3",
        "d3": "network.up_layers.0",
        "d2": "network.up_layers.1",
        "d1": "network.up_layers.2",
    }
    taps = Taps(teacher, teacher.decoder_taps)
    with taps:
        teacher(student_images())
    sizes = {name: tuple(value.shape[2:]) for name, value in taps.collect().items()}
    assert sizes == {"d4": (4, 4), "d3": (8, 8), "d2": (16, 16), "d1": (32, 32)}
    given = zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), True, taps={"d1": "up_layers.2"})
    assert given.decoder_taps == {"d1": "network.up_layers.2"}
    with pytest.raises(ValueError, match=r"has no modules \['decoder.d1'\]"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), True, taps={"d1": "decoder.d1"})


def test_outputs_in_another_order_are_brought_to_the_students(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "a")
    zoo_bundle(tmp_path / "b", outputs=("Enhancing tumor", "Tumor core", "Whole tumor"))
    first, second = (zoo_teacher(tmp_path / name, MODALITIES, (32, 32), True) for name in "ab")
    image = student_images()
    torch.testing.assert_close(first(image)[:, [1, 2, 0]], second(image))


def test_volumes(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo", spatial_dims=3)
    teacher = zoo_teacher(tmp_path / "zoo", MODALITIES, (16, 16, 16), True)
    assert teacher(torch.randn(1, 4, 16, 16, 16)).shape == (1, 3, 16, 16, 16) and len(teacher.decoder_taps) == 4
    with pytest.raises(ValueError, match=r"SegResNet cannot take images of shape \[1, 4, 16, 16\]"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (16, 16), True)


def test_nothing_of_an_untrusted_bundle_runs(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    config = tmp_path / "zoo" / "configs" / "inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    mark = tmp_path / "mark"
    content["network_def"] = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="is code: .*--trust_bundle true.*None of it has been run"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32))
    assert not mark.exists()
    with pytest.raises(ValueError, match="is a NoneType, not a network"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)
    assert mark.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ("T1c", "T1", "T2", "ADC")}, "channels 3: 'ADC' read as none of the modalities"),
        ({"inputs": ("T1c", "T1c", "T2", "FLAIR")}, "channels 0 .* and 1 .* both read as the sequence t1c"),
        ({"outputs": ("Tumor core", "Edema", "Enhancing tumor")}, "no region that reads as WT"),
        ({"outputs": ("core", "whole", "enhancing", "other")}, "has 3 outputs; its metadata name 4"),
        ({"scaling": None}, r"\(none\) cannot be computed from the values of the brain"),
        ({"scaling": {"_target_": "ScaleIntensityd", "keys": "image"}}, r"\(ScaleIntensityd\) cannot be computed"),
        ({"scaling": {**SCALING, "nonzero": False}}, r"\(NormalizeIntensityd\) cannot be computed"),
    ],
)
def test_what_is_not_plain_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    zoo_bundle(tmp_path / "zoo", **changes)
    with pytest.raises(ValueError, match=message):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)


def test_regions_inside_one_another_are_no_classes_of_a_softmax(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    config = tmp_path / "zoo" / "configs" / "inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["postprocessing"] = {"_target_": "Compose", "transforms": [{"_target_": "AsDiscreted", "argmax": True}]}
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="exclude each other .a softmax., but the regions TC, WT, ET lie inside one"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"_target_": "HistogramNormalized", "keys": "image"}, r"\(NormalizeIntensityd, HistogramNormalized\) can"),
        ({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x / 2"}, r"\(NormalizeIntensityd, Lambdad\)"),
        ("$monai.transforms.ScaleIntensityd('image')", r"\(NormalizeIntensityd, \$monai.transforms.ScaleIntensityd"),
        ("@elsewhere", r"\(NormalizeIntensityd, ScaleIntensityd\) cannot be"),
        ({"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": True}, None),
        ({"_target_": "EnsureTyped", "keys": "image"}, None),
    ],
)
def test_a_further_step_that_may_change_intensities(tmp_path: Path, more: Any, message: str | None) -> None:
    zoo_bundle(tmp_path / "zoo")
    config = tmp_path / "zoo" / "configs" / "inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["preprocessing"]["transforms"].append(more)
    content["elsewhere"] = {"_target_": "ScaleIntensityd", "keys": "image"}
    config.write_text(json.dumps(content), encoding="utf-8")
    if message is None:
        assert isinstance(zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True).intensities, NonzeroScaling)
        return
    with pytest.raises(ValueError, match=message):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"},
            "preprocessed with Orientationd axcodes=LPS; it sees",
        ),
        ({"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}, None),
        (
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2]},
            "preprocessed with Spacingd pixdim=[1.5, 1.5, 2];",
        ),
        ({"_target_": "EnsureTyped", "keys": "image"}, None),
    ],
)
def test_images_of_another_grid_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: dict[str, Any], told: str | None
) -> None:
    zoo_bundle(tmp_path / "zoo", spatial_dims=3)
    config = tmp_path / "zoo" / "configs" / "inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["preprocessing"]["transforms"].insert(1, step)
    config.write_text(json.dumps(content), encoding="utf-8")
    zoo_teacher(tmp_path / "zoo", MODALITIES, (16, 16, 16), trusted=True)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert bool(warned) == (told is not None) and (told is None or told in warned[0])


def test_folders_that_are_no_bundles(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="not a bundle with an inference configuration: it has none of configs/inference.json"
    ):
        zoo_teacher(tmp_path, MODALITIES, (32, 32), trusted=True)
    zoo_bundle(tmp_path / "zoo")
    (tmp_path / "zoo" / "models" / "model.pt").unlink()
    with pytest.raises(ValueError, match="not a bundle with weights: it has none of models/model.pt"):
        zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), trusted=True)


def test_names() -> None:
    ours = ("T1-weighted (t1n)", "T1-weighted with contrast (t1c)", "T2-weighted (t2w)", "T2-FLAIR (t2f)")
    assert match_modalities(dict(enumerate(ours)), MODALITIES) == [0, 1, 2, 3]
    others = ("FLAIR", "T2w", "T1Gd", "T1 without contrast")
    assert match_modalities(dict(enumerate(others)), MODALITIES) == [3, 2, 1, 0]
    own = ("tumour core (TC)", "whole tumour (WT)", "enhancing tumour (ET)")
    assert match_regions(dict(enumerate(own)), ("TC", "WT", "ET")) == [0, 1, 2]
    with pytest.raises(ValueError, match="no region that reads as TC"):
        match_regions({0: "non-enhancing core", 1: "WT", 2: "ET"}, ("TC", "WT", "ET"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t1n", "T1|T1w|T1_pre|T1 precontrast|T1_pre_contrast|T1 pre-Gd|T1 noncontrast|T1_no_contrast|T1 non-enhanced"),
        ("t1n", "T1 w/o contrast|T1 unenhanced|T1 native|T1_n|T1 coronal|T1 preprocessed"),
        (
            "t1c",
            "T1c|T1ce|T1Gd|T1+C|T1w+C|T1w CE|CE-T1w|ceT1w|T1 enhanced|T1 gad|T1 KM"
            "|T1_post|post-contrast T1|T1 w/ Gd",
        ),
        ("t1c", "T1 contrast (preprocessed)|T1-CE weighted|T1cw"),
        ("t2w", "T2|T2w|T2-weighted"),
        ("t2f", "FLAIR|T2-FLAIR|T2f|fluid-attenuated (FLAIR)"),
        (None, "T1 FLAIR|T2*|T2 star|T1/T2 ratio|ADC"),
    ],
)
def test_names_of_sequences_as_clinics_write_them(name: str | None, words: str) -> None:
    assert {text: found for text in words.split("|") if (found := sequences({0: text})) != [name]} == {}


def test_a_whole_brain_is_no_whole_tumour() -> None:
    with pytest.raises(ValueError, match="no region that reads as WT; its metadata name 0: 'Whole brain'"):
        match_regions({0: "Whole brain"}, ["WT"])


def test_scaling_of_an_empty_image_is_finite() -> None:
    assert torch.equal(NonzeroScaling()(torch.zeros(1, 2, 4, 4)), torch.zeros(1, 2, 4, 4))


def test_taps_leave_the_network_as_it_was() -> None:
    network = SegResNet(spatial_dims=2, in_channels=1, out_channels=2, init_filters=8).train()
    before = torch.random.get_rng_state()
    assert set(decoder_taps(network, (1, 1, 16, 16))) == {"d4", "d3", "d2", "d1"}
    assert network.training and torch.equal(before, torch.random.get_rng_state())
    assert not any(module._forward_hooks for module in network.modules())


def test_settings_that_contradict_a_bundle(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    common = {"trusted": True, "modalities": MODALITIES, "size": (32, 32), "in_channels": 4}
    teacher = segmentation_teacher_of(str(tmp_path / "zoo"), **common)
    assert isinstance(teacher, ZooTeacher)
    with pytest.raises(ValueError, match="--teacher_checkpoint brings others"):
        segmentation_teacher_of(str(tmp_path / "zoo"), checkpoint="x.pt", **common)
    with pytest.raises(ValueError, match="--teacher_folds 5 brings others"):
        segmentation_teacher_of(str(tmp_path / "zoo"), folds=5, **common)
    with pytest.raises(ValueError, match="--neighbours 0"):
        segmentation_teacher_of(str(tmp_path / "zoo"), **{**common, "in_channels": 12})


def test_students_intensities_that_do_not_lead_to_the_bundles(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    given = (tmp_path / "zoo", MODALITIES, (32, 32), True)
    assert isinstance(zoo_teacher(*given, scaling="unit").intensities, NonzeroScaling)
    for scaling, clahe in (("percentiles", False), ("report", False), ("zscore", True)):
        with pytest.raises(
            ValueError, match=f"computed from --scaling {scaling} --clahe .*give the student --scaling zscore"
        ):
            zoo_teacher(*given, scaling=scaling, clahe=clahe)


@pytest.mark.parametrize("level", ["report", "strong"])
def test_noise_on_the_background_is_none_of_the_bundles_scale(tmp_path: Path, level: str) -> None:
    zoo_bundle(tmp_path / "zoo")
    given: dict[str, Any] = {"trusted": True, "modalities": MODALITIES, "size": (32, 32), "in_channels": 4}
    for kept in ("none", "horizontal", "flips"):
        assert isinstance(segmentation_teacher_of(str(tmp_path / "zoo"), augmentation=kept, **given), ZooTeacher)
    with pytest.raises(ValueError, match=f"--augmentation {level} adds noise to the background .*none, horizontal or"):
        segmentation_teacher_of(str(tmp_path / "zoo"), augmentation=level, **given)


def test_a_bundle_of_this_package_has_the_students_intensities_or_none(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    path = tmp_path / "zoo" / "configs" / "inference.json"
    own = {"_target_": "ckdmed.recipes.case_preprocessing", "scaling": "@scaling", "clahe": "@clahe"}
    content = {**json.loads(path.read_text(encoding="utf-8")), "preprocessing": own}
    for now, fits in (({}, "zscore"), ({"scaling": "unit", "clahe": "$not True"}, "unit")):
        path.write_text(json.dumps({**content, **now}), encoding="utf-8")
        teacher = zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), True, scaling=fits)
        assert isinstance(teacher.intensities, torch.nn.Identity)
        with pytest.raises(
            ValueError, match=f"was trained with --scaling {fits}.*--scaling report --clahe false: give"
        ):
            zoo_teacher(tmp_path / "zoo", MODALITIES, (32, 32), True, scaling="report")
