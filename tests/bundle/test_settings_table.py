"""The table of settings and the bundles' configurations hold the same settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import WrongSettingError, check_given, checked, hand_over, is_plain, taken_settings
from ckdmed.bundle.setting_kinds import boolean, choice, either, list_of, number, whole
from ckdmed.bundle.settings_list import bundle_defaults, settings_text
from ckdmed.bundle.settings_table import FOLLOWS, SETTINGS, settings_for
from ckdmed.cli import main
from ckdmed.methods import methods
from tests.bundle.bundle_runs import BUNDLES

FILES = ("train.json", "evaluate.json", "inference.json")
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/train.json"))
SECTIONS = {"imports", "initialize", "run", "finalize", "save_execute_config"}


def config_of(bundle: str, file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file's own content, and what holds when it is run."""
    parser = ConfigParser()
    files = ["train.json", file] if file == "evaluate.json" else [file]
    parser.read_config([str(BUNDLES / bundle / name) for name in files])
    parser.parse()
    return ConfigParser.load_config_file(str(BUNDLES / bundle / file)), parser.get()


def plain_settings(bundle: str, file: str) -> set[str]:
    own, merged = config_of(bundle, file)
    return {name for name in set(own) & set(merged) - SECTIONS - FOLLOWS if is_plain(merged, name)}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("bundle", NAMES)
def test_every_setting_of_a_bundle_is_in_the_table(bundle: str, file: str):
    assert plain_settings(bundle, file) - set(settings_for(config_of(bundle, file)[1])) == set()


def test_no_setting_of_the_table_is_unused():
    used = {name for bundle in NAMES for file in FILES for name in bundle_defaults(BUNDLES / bundle).get(file, {})}
    assert set(SETTINGS) - used == set()


def test_every_setting_is_explained():
    for bundle in NAMES:
        for name, setting in settings_for(config_of(bundle, "train.json")[0]).items():
            assert setting.meaning and not setting.meaning.endswith("."), name
            assert setting.kind.legal, name


@pytest.mark.parametrize("bundle", NAMES)
def test_the_command_prints_every_setting(bundle: str, capsys: pytest.CaptureFixture[str]):
    assert main(["settings", bundle]) == 0
    parts = re.split(r"^(\w+\.json) \(", capsys.readouterr().out, flags=re.MULTILINE)
    for file, part in zip(parts[1::2], parts[2::2]):
        assert set(re.findall(r"^  --(\w+)  \(default: ", part, re.MULTILINE)) >= plain_settings(bundle, file)
    assert tuple(parts[1::2]) == FILES


def test_a_setting_with_default_meaning_range_and_unit():
    text = settings_text("seg_kd")
    assert (
        "  --weight_decay  (default: 0.0001, nnunet 3e-05, amsgrad 1e-06)\n"
        "      weight decay of the optimizer: a number of at least 0\n" in text
    )
    assert "  --loss  (default: bce_dice, amsgrad batch_dice_bce)\n" in settings_text("brats_seg_teacher")
    default = "that of the training, else 256"
    meaning = "edge length of a slice: a whole number of at least 8, in pixels"
    assert f"  --image_size  (default: {default})\n      {meaning}\n" in text


def test_an_unknown_bundle(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["settings", str(tmp_path / "none")]) == 2
    assert "there is no bundle" in capsys.readouterr().err


def test_a_copied_bundle_is_listed_by_its_folder(tmp_path: Path):
    config = json.loads((BUNDLES / "cls_kd" / "train.json").read_text(encoding="utf-8"))
    (tmp_path / "train.json").write_text(json.dumps({**config, "alpha": 0.25}), encoding="utf-8")
    text = settings_text(str(tmp_path))
    assert "--alpha  (default: 0.25)" in text and "efficientnet_b0, efficientnet_lite" in text


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        (whole(1), "3", 3),
        (whole(1), 3.0, 3),
        (whole(multiple=16), 64, 64),
        (number(0, 1), "1e-3", 0.001),
        (number(0), 1, 1),
        (either(choice("memory", "disk"), boolean()), "no", False),
        (list_of(whole(1), "edges", 3), (1, 2, 3), [1, 2, 3]),
        (list_of(choice("a", "b"), "words"), "a", ["a"]),
        (list_of(whole(), "numbers", empty=True), [], []),
    ],
)
def test_kinds_convert(kind: Any, given: Any, made: Any):
    found = kind.convert(given)
    assert found == made and type(found) is type(made)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (whole(1), True),
        (whole(1), 1.5),
        (whole(1), 0),
        (whole(1, 4), 5),
        (whole(multiple=16), 40),
        (whole(), [1]),
        (number(0, 1, above=True), 0),
        (number(0, 1, below=True), 1),
        (number(), float("nan")),
        (number(), "x"),
        (boolean(), 2),
        (boolean(), None),
        (choice(2, 3), True),
        (choice("a"), ["a"]),
        (list_of(whole(), "edges", 3), [1, 2]),
        (list_of(whole(), "numbers", different=True), [1, 1]),
        (list_of(whole(), "numbers"), []),
    ],
)
def test_kinds_refuse(kind: Any, given: Any):
    with pytest.raises((TypeError, ValueError)):
        kind.convert(given)


def test_the_words_of_engines_and_losses_are_those_of_the_table():
    from ckdmed.bundle import settings_table
    from ckdmed.engines.teachers import cache, group, performance
    from ckdmed.losses import region_losses

    assert settings_table.TEACHER_MODES == group.MODES
    assert settings_table.SHARE_SOURCES == performance.SOURCES
    assert settings_table.CACHE_DTYPES == tuple(cache.DTYPES)
    assert settings_table.REGION_LOSSES == tuple(region_losses.REGION_LOSSES)


def test_methods_are_those_of_the_registry_that_fit_the_bundle():
    for bundle, task in (
        ("seg_kd", "segmentation"),
        ("brats_seg_kd", "regions"),
        ("cls_kd", "classification"),
        ("brats_unimodal_kd", "unimodal"),
    ):
        kind = settings_for(config_of(bundle, "train.json")[0])["method"].kind
        assert kind.legal.startswith(f"one of {', '.join(methods(task))}, or {{")
        assert all(kind.convert(name) == name for name in methods(task))
    with pytest.raises(ValueError, match="did you mean 'class_affinity'"):
        settings_for(config_of("brats_seg_kd", "train.json")[0])["method"].kind.convert("class_afinity")


def test_every_option_of_a_method_is_a_setting_that_the_bundle_hands_over():
    for bundle in NAMES:
        config = config_of(bundle, "train.json")[0]
        loss = config.get("distillation_loss")
        for name, one in methods(loss["task"]).items() if loss else ():
            assert set(one.options) <= taken_settings(config), name


def test_a_given_option_reaches_the_loss_and_the_record(tmp_path: Path):
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "seg_kd" / "train.json"))
    before = settings_of(parser)
    assert "w_feat" not in before and not taken_settings({}) and "alpha" not in taken_settings(parser.get())
    parser["w_feat"] = 0.25
    hand_over(parser)
    assert settings_of(parser)["w_feat"] == 0.25
    assert parser.get_parsed_content("distillation_loss").terms["features"].weight == 0.25
    check_given(parser.get(), {"w_edge": 1})
    with pytest.raises(WrongSettingError, match="w_edge must be a number"):
        check_given(parser.get(), {"w_edge": "x"})
    with pytest.raises(WrongSettingError, match="did you mean 'w_edge'"):
        check_given(parser.get(), {"w_edgee": 1})


def test_an_empty_list_of_layers_reaches_the_methods_that_can_do_without():
    for name in methods("segmentation"):
        if "feature_layers" not in methods("segmentation")[name].options:
            continue
        parser = ConfigParser()
        parser.read_config(str(BUNDLES / "seg_kd" / "train.json"))
        parser.update({"method": name, "feature_layers": checked("feature_layers", [], SETTINGS["feature_layers"])})
        hand_over(parser)
        if name in ("ckd", "report_kd", "report_kdpp", "report_kdpp_literal", "cwd"):
            assert parser.get_parsed_content("distillation_loss").layers == ()
        else:
            with pytest.raises(RuntimeError) as caught:
                parser.get_parsed_content("distillation_loss")
            assert "feature_layers cannot be an empty list" in str(caught.value.__cause__), name


def test_defaults_of_each_profile_are_shown():
    assert "--epochs  (default: demo 20, full 60, compact 20)" in settings_text("seg_kd")
    rates = "demo 0.004, full 0.001, compact 0.002, nnunet 0.01, amsgrad 0.001"
    assert f"--teacher_learning_rate  (default: {rates})" in settings_text("seg_kd")
    text = settings_text("brats_seg_kd")
    assert "--profile" in text and "compact_3d" in text
    # the columns for volumes too, where the table leaves them out
    assert "--epochs  (default: demo 12, full 60, compact 8, demo_3d 12, full_3d 60, compact_3d 8)" in text
    assert "--threshold  (default: that of the record of the checkpoint, else 0.5)" in settings_text("seg_kd")
    assert "--student_base  (default: that of the training, else demo 8, full 32, compact 8)" in settings_text("seg_kd")


@pytest.mark.parametrize("bundle", NAMES)
def test_every_profile_has_every_size(bundle: str):
    config = config_of(bundle, "train.json")[0]
    usual = ["demo", "full", "compact"]
    for name, column in config["profiles"].items():
        # a column for volumes stands where it says something else, and then all of them do
        assert list(column) in (usual, [*usual, *(f"{profile}_3d" for profile in usual)]), name
        assert len(column) == 3 or any(column[profile] != column[f"{profile}_3d"] for profile in usual), name
        assert f"@sizes['{name}']" in config[name]


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/*.json")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_configurations_are_for_reading(path: Path):
    text = path.read_text(encoding="utf-8")
    if path.name == "train.json":
        assert max(map(len, text.splitlines())) <= 120
        assert "lambda handler" not in text and "if @dataset_dir else" not in text.replace(
            "'full' if @dataset_dir else 'demo'", ""
        )


@pytest.mark.slow
def test_an_inference_does_without_the_registry():
    code = "import sys, ckdmed.bundle.settings_table, ckdmed.bundle; sys.exit('ckdmed.methods' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=BUNDLES.parent).returncode == 0
