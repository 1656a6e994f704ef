"""Settings that another one leaves without effect are told of where they were typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.idle_settings import idle_settings
from ckdmed.bundle.run import settings_of
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import BUNDLES, completed, opened
from tests.bundle.test_effective_settings import started

NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/train.json"))


def parser_of(bundle: str, **settings: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "train.json"))
    parser.update(settings)
    return parser


@pytest.mark.parametrize(
    ("bundle", "name", "without", "with_effect", "reason"),
    [
        ("seg_kd", "teacher_epochs", {"method": "supervised"}, {}, "method is 'supervised'"),
        ("cls_kd", "vgg_width", {"method": "supervised"}, {"method": "kd"}, "method is 'supervised'"),
        ("cls_kd", "cache_teacher", {"method": "supervised"}, {"method": "kd"}, "method is 'supervised'"),
        (
            "brats_unimodal_kd",
            "teacher_epochs",
            {"method": "supervised", "teacher_mode": "online"},
            {"teacher_mode": "fusion"},
            "method is 'supervised'",
        ),
        ("brats_unimodal_kd", "teacher_mode", {"method": "supervised"}, {}, "method is 'supervised'"),
        ("brats_unimodal_kd", "share_source", {"method": "supervised"}, {}, "method is 'supervised'"),
        ("brats_unimodal_kd", "teacher_epochs", {"teacher_mode": "online"}, {}, "teacher_mode is 'online'"),
        ("brats_unimodal_kd", "teacher_seed", {"method": "mutual"}, {}, "teacher_mode is 'online'"),
        ("seg_kd", "teacher_view", {"teacher_checkpoint": "t.pt"}, {}, "teacher_checkpoint is 't.pt'"),
        ("cls_kd", "freeze", {"teacher_checkpoint": "t.pt"}, {}, "teacher_checkpoint is 't.pt'"),
        ("seg_kd", "fuse", {"teacher_bundle": "zoo"}, {"teacher_checkpoint": "t.pt"}, "teacher_bundle is 'zoo'"),
        ("seg_kd", "teacher_recipe", {"teacher_bundle": "zoo"}, {}, "teacher_bundle is 'zoo'"),
        ("seg_kd", "trust_bundle", {}, {"teacher_bundle": "zoo"}, "teacher_bundle is null"),
        ("brats_seg_kd", "teacher_bundle_taps", {}, {"teacher_bundle": "zoo"}, "teacher_bundle is null"),
        ("seg_teacher", "n_folds", {}, {"fold": 0}, "fold is null"),
        ("cls_teacher", "fold_source", {}, {"fold": 0}, "fold is null"),
        ("brats_seg_kd", "phantom_cases", {"dataset_dir": "mine"}, {}, "dataset_dir is 'mine'"),
        ("cls_kd", "phantom_cases", {}, {"task": "brats_slice"}, "task is 'figshare'"),
        ("cls_kd", "min_voxels", {}, {"task": "brats_slice"}, "task is 'figshare'"),
        ("cls_kd", "phantom_patients", {"task": "brats_type"}, {}, "task is 'brats_type'"),
        ("seg_kd", "labelled_per_batch", {}, {"label_fraction": 0.5}, "label_fraction is 1.0"),
        ("seg_kd", "labelled_per_batch", {}, {"dataset_dir": "mine"}, "label_fraction is 1.0"),
        ("cls_kd", "epoch_slices", {}, {"balanced": True}, "balanced is false"),
        ("brats_seg_kd", "roi_size", {}, {"spatial_dims": 3}, "spatial_dims is 2"),
        ("brats_seg_teacher", "sw_overlap", {}, {"spatial_dims": 3}, "spatial_dims is 2"),
        ("brats_seg_kd", "cache", {}, {"spatial_dims": 3}, "spatial_dims is 2"),
        ("brats_seg_kd", "cache_rate", {}, {"spatial_dims": 3}, "spatial_dims is 2"),
        ("brats_seg_kd", "image_size", {"spatial_dims": 3}, {}, "spatial_dims is 3"),
        ("brats_seg_kd", "slices_per_epoch", {"spatial_dims": 3}, {}, "spatial_dims is 3"),
        ("brats_seg_kd", "tumour_share", {"spatial_dims": 3}, {}, "recipe is 'adamw'"),
        ("brats_seg_kd", "tumour_share", {"spatial_dims": 3}, {"spatial_dims": 3, "recipe": "nnunet"}, "recipe is"),
        (
            "brats_seg_kd",
            "teacher_tumour_share",
            {"spatial_dims": 3},
            {"spatial_dims": 3, "teacher_recipe": "nnunet"},
            "teacher_recipe is 'adamw'",
        ),
        ("seg_kd", "cache_rate", {"cache": "disk"}, {}, "cache is 'disk'"),
        ("brats_seg_kd", "cache_rate", {"spatial_dims": 3, "cache": "disk"}, {"spatial_dims": 3}, "cache is 'disk'"),
        ("seg_kd", "cache_dir", {}, {"cache": "disk"}, "cache is 'memory'"),
        ("seg_kd", "cache_dir", {"cache_teacher": True}, {"cache_teacher": "disk"}, "cache is 'memory'"),
        ("seg_teacher", "cache_dir", {}, {"cache": "disk"}, "cache is 'memory'"),
        ("cls_teacher", "cache_dir", {}, {"task": "brats_type"}, "cache is 'memory'"),
        ("brats_seg_kd", "cache_dir", {"spatial_dims": 3}, {}, "cache is 'memory'"),
        ("seg_kd", "cache_teacher_dtype", {}, {"cache_teacher": True}, "cache_teacher is false"),
        ("seg_kd", "student_backbone", {}, {"student_kind": "efficientnet_lite"}, "student_kind is 'unet'"),
        ("cls_kd", "student_backbone", {}, {"student_kind": "efficientnet_lite"}, "student_kind is"),
        ("brats_unimodal_kd", "align_base", {}, {"align": "cyclegan"}, "align is null"),
        ("brats_unimodal_kd", "w_cooperative", {}, {"teacher_mode": "fusion"}, "teacher_mode is 'frozen'"),
        ("brats_unimodal_kd", "w_mutual", {}, {"method": "mutual"}, "teacher_mode is 'frozen'"),
        (
            "seg_kd",
            "vit_pretrained",
            {"teacher_kind": "dynunet"},
            {"teacher_kind": "vgg_vit"},
            "teacher_kind is 'dynunet'",
        ),
        ("seg_teacher", "vit_pretrained", {"teacher_kind": "unet"}, {}, "teacher_kind is 'unet'"),
        (
            "brats_unimodal_kd",
            "vit_pretrained",
            {"teacher_kind": ["unet", "dynunet"]},
            {"teacher_kind": ["unet", "unet_vit"]},
            "teacher_kind is ",
        ),
        ("cls_kd", "vit_pretrained", {"teacher_kind": "vgg_vgg"}, {}, "teacher_kind is 'vgg_vgg'"),
        (
            "cls_kd",
            "vgg_pretrained",
            {"teacher_kind": "vit_vit"},
            {"teacher_kind": "msgff"},
            "teacher_kind is 'vit_vit'",
        ),
        ("cls_teacher", "lite_pretrained", {}, {"teacher_kind": "efficientnet_lite"}, "teacher_kind is 'vgg_vit'"),
        ("seg_kd", "map_weights", {}, {"resolutions": [32, 64]}, "resolutions is null"),
        ("seg_teacher", "map_weights", {"teacher_kind": "unet"}, {"resolutions": [32, 64]}, "teacher_kind is 'unet'"),
        ("seg_kd", "map_weights", {"resolutions": [32, 64], "fuse": "graph"}, {"resolutions": [32, 64]}, "fuse is"),
        ("cls_kd", "map_weights", {"resolutions": [32, 64]}, {"teacher_kind": "msgff"}, "fuse is 'logits'"),
        (
            "cls_teacher",
            "map_weights",
            {"fuse": "attention", "teacher_kind": "vgg_vgg"},
            {"fuse": "attention", "teacher_kind": "vgg_vgg", "resolutions": [32, 64]},
            "resolutions is null",
        ),
        ("seg_kd", "student_base", {"student_kind": "efficientnet_lite"}, {}, "the chosen network does not use it"),
        ("seg_kd", "vit_layers", {"teacher_kind": "unet"}, {}, "the chosen network does not use it"),
    ],
)
def test_it_depends_on_the_other_setting(
    bundle: str, name: str, without: dict[str, Any], with_effect: dict[str, Any], reason: str
) -> None:
    assert name in parser_of(bundle).get()
    assert idle_settings(parser_of(bundle, **without), [name])[name].startswith(reason)
    assert idle_settings(parser_of(bundle, **with_effect), [name]) == {}


@pytest.mark.parametrize(
    ("name", "definition"),
    [("student_backbone", "network_def"), ("lite_pretrained", "teacher_def"), ("map_weights", "teacher_def")],
)
def test_a_network_of_ones_own_may_use_what_that_of_the_kind_does_not(name: str, definition: str) -> None:
    assert list(idle_settings(parser_of("cls_kd", method="kd"), [name])) == [name]
    own = {definition: {"_target_": "my.network", "read": f"@{name}"}}
    assert idle_settings(parser_of("cls_kd", method="kd", **own), [name]) == {}


@pytest.mark.parametrize(
    ("bundle", "name", "value", "because"),
    [
        ("seg_kd", "edge_weights", "feature_lines", {"w_edge": 0}),
        ("seg_kd", "scales", [1, 2], {"w_feat": 0}),
        ("brats_seg_kd", "w_feat", 0.5, {"feature_layers": []}),
        ("cls_kd", "temperature", 2, {"method": "kd", "alpha": 1}),
        ("brats_unimodal_kd", "deep_label", 0.2, {"w_deep": 0}),
    ],
)
def test_an_option_of_a_method_depends_on_its_weight(
    bundle: str, name: str, value: Any, because: dict[str, Any]
) -> None:
    decides, zero = list(because.items())[-1]
    given = {name: value, **because}
    assert idle_settings(parser_of(bundle, **given), given) == {name: f"{decides} is {zero}"}
    assert idle_settings(parser_of(bundle, **{name: value}), [name]) == {}
    # only what was asked about
    assert idle_settings(parser_of(bundle, **given), [decides]) == {}


def test_an_option_of_a_method_depends_on_the_default_of_a_weight() -> None:
    given = {"method": "cross_architecture", "temperature": 2}
    assert idle_settings(parser_of("cls_kd", **given), given) == {"temperature": "alpha is 1.0"}
    assert idle_settings(parser_of("cls_kd", **given, alpha=0.5), given) == {}


def test_an_unknown_method_is_not_this_checks_business() -> None:
    given = {"method": "nothing", "w_edge": 0, "edge_weights": "feature_lines"}
    assert idle_settings(parser_of("seg_kd", **given), ["edge_weights"]) == {}


@pytest.mark.parametrize("bundle", NAMES)
def test_what_a_student_without_a_teacher_takes_from_one_has_an_effect(bundle: str) -> None:
    """A checkpoint tells its intensities."""
    names = ["teacher_checkpoint", "teacher_checkpoints", "learning_rate", "epochs", "method"]
    assert idle_settings(parser_of(bundle, method="supervised"), names) == {}


@pytest.mark.parametrize("bundle", NAMES)
def test_a_setting_that_only_a_component_could_tell_decides_nothing(bundle: str) -> None:
    parser = parser_of(bundle)
    names = list(settings_of(parser))
    usual = idle_settings(parser, names)
    parser["fold"] = "$len(@sections['test'])"
    parser["sections"] = {"_target_": "not.to.be.built"}
    now = idle_settings(parser, names)
    assert {name: reason for name, reason in usual.items() if "fold" not in reason} == now


def test_a_run_tells_of_them(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    typed = {"n_folds": "4", "cache_teacher_dtype": "float16", "epochs": "2"}
    started(monkeypatch, "seg_kd", ("train.json",), typed)
    told = "no effect in this run: --n_folds (fold is null); --cache_teacher_dtype (cache_teacher is false)."
    assert told in "".join(capfd.readouterr())
    started(monkeypatch, "seg_kd", ("train.json",), {"w_edge": "0", "edge_weights": "feature_lines"})
    assert "no effect in this run: --edge_weights (w_edge is 0)." in "".join(capfd.readouterr())
    started(monkeypatch, "seg_kd", ("train.json",), {"fold": "0", "n_folds": "4"})
    assert "no effect" not in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.bundle
def test_weights_are_the_same_whatever_they_are(tmp_path: Path) -> None:
    """Other values of all that a training without a teacher is told to have no use for."""
    usual = {"method": "supervised", "epochs": 1}
    others = {
        **{"teacher_epochs": 7, "teacher_base": 16, "teacher_kind": "unet", "vit_layers": 3, "teacher_flips": True},
        **{"teacher_learning_rate": 0.5, "teacher_view": "affine", "cache_teacher_dtype": "float16", "n_folds": 7},
        **{"calibrate_teacher": True, "teacher_folds": 2, "student_backbone": "resnet10", "fuse": "class_token"},
        **{"labelled_per_batch": 0.9, "teacher_recipe": "nnunet", "teacher_weight_decay": 0.3},
        "cache_dir": str(tmp_path / "elsewhere"),
    }
    seg_kd_runs.run(tmp_path / "usual", **usual)
    seg_kd_runs.run(tmp_path / "others", **{**usual, **others})
    first, second = (
        torch.load(tmp_path / name / "models" / "model.pt", weights_only=True) for name in ("usual", "others")
    )
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    told = idle_settings(parser_of("seg_kd", **usual, **others), others)
    assert sorted(told) == sorted(others)


@pytest.mark.slow
@pytest.mark.bundle
def test_weights_of_volumes_are_the_same_whatever_they_are(tmp_path: Path) -> None:
    usual = {"spatial_dims": 3, "phantom_cases": 6, "epochs": 1, "student_base": 4, "roi_size": [16, 16, 16]}
    others = {"slices_per_epoch": 11, "tumour_share": 0.1, "image_size": 40, "n_folds": 7, "cache_dir": "elsewhere"}
    usual["method"] = "supervised"
    for name, settings in (("usual", usual), ("others", {**usual, **others, "cache_dir": str(tmp_path / "else")})):
        completed(opened("brats_seg_kd", output_dir=str(tmp_path / name), **settings))
    first, second = (
        torch.load(tmp_path / name / "models" / "model.pt", weights_only=True) for name in ("usual", "others")
    )
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert sorted(idle_settings(parser_of("brats_seg_kd", **usual), others)) == sorted(others)


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/inference.json")))
def test_a_section_of_what_is_no_datalist(bundle: str) -> None:
    """All of the folder was predicted, patients of the training among it, without a word."""

    def idle(*files: str, **settings: Any) -> dict[str, str]:
        parser = ConfigParser()
        parser.read_config([str(BUNDLES / bundle / file) for file in files])
        parser.update(settings)
        return idle_settings(parser, ["section"])

    given = {"section": "validation", "checkpoint": "model.pt"}
    assert idle("inference.json", dataset_dir="mine", **given) == {"section": "dataset_dir is 'mine'"}
    assert idle("inference.json", dataset_dir="mine/datalist.json", **given) == {}
    assert idle("train.json", "evaluate.json", dataset_dir="mine", **given) == {}
