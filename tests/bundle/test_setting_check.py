from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import WrongSettingError
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.settings_table import SETTINGS
from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.experiments.given_settings import check_bundle_settings
from tests.bundle.bundle_runs import BUNDLES

NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/train.json"))
CHECK = {"initialize": ["$ckdmed.bundle.check_settings()"], "finalize": []}


def checked(bundle: str, configs: tuple[str, ...] = ("train.json",), **settings: Any) -> ConfigWorkflow:
    """The bundle's workflow after the check, and nothing but the check."""
    made = bundle_workflow(BUNDLES / bundle, {**settings, **CHECK}, configs)
    made.initialize()
    return made


def refused(bundle: str, configs: tuple[str, ...] = ("train.json",), **settings: Any) -> str:
    with pytest.raises(Exception) as raised:
        checked(bundle, configs, **settings)
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError), cause
    return str(cause)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Settings as MONAI's command line has them: by ``fire`` from words."""

    def type_words(*words: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--config_file", "train.json", *words])
        pairs = zip(words[::2], words[1::2])
        return {name.lstrip("-"): DefaultParseValue(value) for name, value in pairs}

    return type_words


@pytest.mark.parametrize(
    ("bundle", "word"),
    [*((bundle, "no") for bundle in NAMES), *(("seg_kd", word) for word in ("off", "False", "false", "NO", "0"))],
)
def test_words_for_no_are_no(bundle: str, word: str, typed):
    made = checked(bundle, **typed("--amp", word, "--resume", word))
    assert made.parser["amp"] is False and made.parser["resume"] is False


@pytest.mark.parametrize("word", ["yes", "on", "True", "true", "1"])
def test_words_for_yes_are_yes(word: str, typed):
    assert checked("seg_kd", **typed("--train_on_validation", word)).parser["train_on_validation"] is True


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("epochs", "abc", "a whole number of at least 1"),
        ("epochs", "True", "a whole number of at least 1"),
        ("epochs", "null", "a whole number of at least 1"),
        ("image_size", "32.5", "a whole number of at least 8"),
        ("batch_size", "0", "a whole number of at least 1"),
        ("val_interval", "0", "a whole number of at least 1"),
        ("learning_rate", "2e-3x", "a number above 0"),
        ("learning_rate", "-1", "a number above 0"),
        ("learning_rate", "1e999", "a number above 0"),
        ("amp", "perhaps", "true or false"),
        ("seed", "-1", "a whole number of at least 0"),
        ("cache", "Disk", "did you mean 'disk'?"),
        ("device", "gpu", "a device of PyTorch"),
        ("dataset_dir", "", "a folder"),
        ("dataset_dir", "   ", "a folder"),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: str, must: str, typed):
    message = refused("seg_kd", **typed(f"--{name}", value))
    assert message.startswith(f"--{name} must be ") and must in message
    assert f", got {DefaultParseValue(value)!r}" in message


@pytest.mark.parametrize("configs", [("train.json", "evaluate.json"), ("inference.json",)])
@pytest.mark.parametrize("threshold", ["30", "-0.1", "half"])
def test_a_threshold_is_a_probability(configs: tuple[str, ...], threshold: str, typed):
    message = refused("seg_kd", configs, **typed("--threshold", threshold))
    assert "--threshold must be a number of at least 0 and of at most 1, got " in message


def test_every_wrong_value_is_named(typed):
    message = refused("seg_kd", **typed("--epochs", "abc", "--batch_size", "0"))
    assert "--epochs" in message and "--batch_size" in message


@pytest.mark.parametrize("bundle", NAMES)
def test_wrong_values_are_refused_in_every_bundle(bundle: str, typed):
    assert refused(bundle, **typed("--epochs", "abc")).startswith("--epochs must be a whole number of at least 1")


@pytest.mark.parametrize("bundle", ["brats_seg_kd", "cls_teacher"])
@pytest.mark.parametrize("name", ["2018", "a,b", "a#b", "x/a#b@c", "2018.10", "{a}", "True", "1_0"])
def test_a_folder_keeps_its_name(bundle: str, name: str, typed):
    made = checked(bundle, **typed("--dataset_dir", name, "--output_dir", name))
    assert made.parser.get_parsed_content("dataset_dir") == name
    assert made.parser.get_parsed_content("ckpt_dir") == f"{name}/models"


@pytest.mark.parametrize("name", ["a#b", "x'y/a#b@c", 'a"#b'])
def test_a_folder_given_by_a_program_keeps_its_name(name: str):
    made = checked(
        "seg_kd", **{"output_dir": name, "sections#phantom_dir": f"{name}/p", "teacher_options": {"k": name}}
    )
    parsed = made.parser.get_parsed_content
    assert parsed("output_dir") == name and parsed("ckpt_dir") == f"{name}/models"
    assert parsed("teacher_options") == {"k": name}
    made.parser["sections::_target_"] = "builtins.dict"
    made.parser.parse(True)
    assert made.parser.get_parsed_content("sections")["phantom_dir"] == f"{name}/p"


@pytest.mark.parametrize("code", ["$'a' + '#'", "$open('ran', 'w')", '$"#" if 1 else 0'])
def test_a_path_of_a_program_is_no_code_either(code: str):
    assert refused("seg_kd", output_dir=code).startswith("--output_dir is ")


def test_paths_of_another_command_are_not_typed_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["ckdmed", "compare", "--output_dir", "2018"])
    assert "must be a folder" in refused("seg_kd", output_dir=2018)


@pytest.mark.parametrize("code", ["$open('ran', 'w') and None", "$None", "@w_sup", "%train.json::dataset_dir"])
@pytest.mark.parametrize("name", ["dataset_dir", "output_dir", "teacher_checkpoint"])
def test_a_path_is_never_run_as_code(name: str, code: str, typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if code.startswith("%"):
        code = f"%{BUNDLES / 'seg_kd' / 'train.json'}::dataset_dir"
    message = refused("seg_kd", **typed(f"--{name}", code))
    assert message.startswith(f"--{name} is '{code[0]}") or message.startswith(f'--{name} is "{code[0]}')
    assert f"write './{code}'" in message
    assert not (tmp_path / "ran").exists()


def test_a_path_from_python_is_never_run_as_code():
    assert "would be run as code" in refused("seg_kd", dataset_dir="$None")


def test_a_setting_without_a_value(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", "--config_file", "train.json"])
    assert "--dataset_dir was given without a value" in refused("seg_kd", dataset_dir=True)


def test_values_from_python_stay_what_they_are(tmp_path: Path):
    given = {"amp": True, "epochs": 3, "learning_rate": 1, "roi_size": [32, 32, 32], "modalities": ["t1c", "t2f"]}
    made = checked("brats_seg_kd", dataset_dir=tmp_path, batch_size=np.int64(4), **given)
    assert made.parser["dataset_dir"] == str(tmp_path)
    assert made.parser["batch_size"] == 4 and type(made.parser["batch_size"]) is int
    for name, value in given.items():
        assert made.parser[name] == value and type(made.parser[name]) is type(value)


def test_lists_as_they_are_typed(typed):
    made = checked("brats_seg_kd", **typed("--roi_size", "32,32,32", "--modalities", "t1c"))
    assert made.parser["roi_size"] == [32, 32, 32] and made.parser["modalities"] == ["t1c"]
    assert "a list of 3 edges" in refused("brats_seg_kd", **typed("--roi_size", "32,32"))
    assert "--modalities" in refused("brats_seg_kd", **typed("--modalities", "t1c,t1x"))


def test_values_are_right_before_others_follow_from_them(typed):
    made = checked("seg_kd", **typed("--amp", "no", "--dataset_dir", "null"))
    assert made.parser.get_parsed_content("cache_teacher_dtype") == "float32"
    assert made.parser.get_parsed_content("epochs") == 20
    with_amp = checked("seg_kd", **typed("--amp", "bf16", "--dataset_dir", "2018"))
    assert with_amp.parser.get_parsed_content("cache_teacher_dtype") == "bfloat16"
    assert with_amp.parser.get_parsed_content("epochs") == 60


@pytest.mark.parametrize("bundle", NAMES)
@pytest.mark.parametrize("configs", [("train.json",), ("train.json", "evaluate.json"), ("inference.json",)])
def test_the_bundles_own_defaults_pass_and_stay(bundle: str, configs: tuple[str, ...], tmp_path: Path):
    for dataset_dir in (None, str(tmp_path)):
        made = checked(bundle, configs, dataset_dir=dataset_dir)
        for name in configs:
            for key, value in json.loads((BUNDLES / bundle / name).read_text(encoding="utf-8")).items():
                if key in SETTINGS and key != "dataset_dir" and not (name == "train.json" and len(configs) > 1):
                    assert made.parser[key] == value or isinstance(value, dict)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "'epoch' is not a setting of this bundle; did you mean 'epochs'?"),
        ({"epochs": "abc"}, "--epochs must be a whole number of at least 1 (epochs), got 'abc'"),
        ({"optimiser#lr": 1}, "'optimiser#lr' is not a setting of this bundle"),
        ({"train#trainer#max_epochs": 3}, "lr_scheduler#epochs: give --epochs 3 instead"),
    ],
)
def test_settings_of_an_experiment_are_refused_before_its_first_training(settings: dict, message: str):
    with pytest.raises(WrongSettingError) as raised:
        check_bundle_settings("cls_kd", settings, BUNDLES)
    assert message in str(raised.value)
    check_bundle_settings("cls_kd", {"epochs": 3, "optimizer#amsgrad": True}, BUNDLES)


def test_regions_have_numbers_of_the_label():
    assert checked("seg_kd", regions={"whole": [1, 2], "core": 2}).parser["regions"] == {"whole": [1, 2], "core": [2]}
    said = refused("seg_kd", regions={"whole": [1, 2], "core": "two"})
    assert "--regions must be" in said and "For 'core' it must be null or an empty list or a list of different" in said
    assert "got 'two'" in said
