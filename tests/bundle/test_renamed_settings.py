"""A setting, or a value, by the name it had before is an error that gives the name of now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.renamed_settings import NEW_NAMES, NEW_VALUES, RenamedSettingError, with_new_names
from ckdmed.bundle.setting_check import WrongSettingError, check_given, nearest_setting, taken_settings
from ckdmed.bundle.settings_table import SETTINGS, settings_for
from tests.bundle.bundle_runs import BUNDLES

CONFIGS = {
    f"{path.parent.name}/{path.name}": ConfigParser.load_config_file(str(path))
    for path in sorted(BUNDLES.glob("*/*.json"))
    if path.name in ("train.json", "inference.json")
}
TRAIN = {path.parent.name: CONFIGS[f"{path.parent.name}/train.json"] for path in BUNDLES.glob("*/train.json")}


def refused(bundle: str, **settings: Any) -> str:
    made = ConfigWorkflow(str(BUNDLES / bundle), meta_file=None, logging_file=False, workflow_type="train", **settings)
    with pytest.raises(Exception) as raised:
        made.initialize()
    cause = root_cause(raised.value)
    assert isinstance(cause, RenamedSettingError)
    return str(cause)


@pytest.mark.parametrize("name", sorted(NEW_NAMES))
def test_an_old_name_gives_the_new_one_in_every_bundle_that_has_it(name: str) -> None:
    bundles = [config for config in CONFIGS.values() if NEW_NAMES[name] in {*config, *taken_settings(config)}]
    assert bundles
    for config in bundles:
        with pytest.raises(RenamedSettingError, match=f"^--{name} is called --{NEW_NAMES[name]} now.$"):
            check_given(config, {name: "x"})


@pytest.mark.parametrize(("name", "old"), [(name, old) for name, values in NEW_VALUES.items() for old in values])
def test_an_old_value_gives_the_new_one(name: str, old: str) -> None:
    config = next(config for config in TRAIN.values() if name in {*config, *taken_settings(config)})
    new = NEW_VALUES[name][old]
    with pytest.raises(RenamedSettingError, match=re.escape(f"'{old}' of --{name} is called '{new}' now")):
        check_given(config, {name: old})
    settings_for(config)[name].kind.convert(new)
    with pytest.raises(ValueError):
        settings_for(config)[name].kind.convert(old)


def test_no_bundle_has_an_old_name() -> None:
    assert not set(NEW_NAMES) & set(SETTINGS) and set(NEW_NAMES.values()) <= set(SETTINGS)
    for file, config in CONFIGS.items():
        # a component may bear one
        assert not [name for name in NEW_NAMES if name in config and not isinstance(config[name], dict)], file


def test_in_a_run() -> None:
    message = refused("seg_kd/train.json", labelled_fraction=0.5, student_weights="lite0.pth")
    assert "--labelled_fraction is called --label_fraction now." in message
    assert "--student_weights is called --student_encoder_pretrained now." in message
    assert refused("cls_kd/inference.json", flip=True) == "--flip is called --tta now."
    assert refused("brats_seg_teacher/train.json", teacher="segresnet") == "--teacher is called --teacher_kind now."
    # where the name is that of a component today
    assert refused("seg_kd/train.json", teacher="segresnet") == "--teacher is called --teacher_kind now."
    assert refused("cls_kd/train.json", scaling="ours") == "'ours' of --scaling is called 'percentiles' now."


def test_in_an_overlay(tmp_path: Path) -> None:
    overlay = tmp_path / "own.json"
    overlay.write_text('{"vit_checkpoint": "weights.pt", "augmentation": "flip"}', encoding="utf-8")
    made = ConfigWorkflow(
        [str(BUNDLES / "cls_teacher" / "train.json"), str(overlay)], None, False, workflow_type="train"
    )
    with pytest.raises(Exception) as raised:
        made.initialize()
    message = str(root_cause(raised.value))
    assert "--vit_checkpoint is called --vit_pretrained now." in message and "'flips' now" in message


def test_a_component_may_bear_an_old_name() -> None:
    check_given(TRAIN["brats_seg_kd"], {"teacher": {"_target_": "torch.nn.Identity"}})


def test_records_of_before_are_read_by_the_names_of_now() -> None:
    recorded = {"teacher": "cohra", "labelled_fraction": 0.5, "augmentation": "flip", "modalities": ["t1c"], "seed": 0}
    now = {"teacher_kind": "cohra", "label_fraction": 0.5, "augmentation": "flips", "modalities": ["t1c"], "seed": 0}
    assert with_new_names(recorded) == now and with_new_names(now) == now


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        # teacher_cache, a component, and cache_teacher, true or a storage, are as near
        ("teacher_chekpoint", "weights.pt", "teacher_checkpoint"),
        ("student_pretraind", "weights.pt", "student_pretrained"),
        ("teacher_kinds", "segresnet", "teacher_kind"),
        ("learning_rates", 0.1, "learning_rate"),
        ("epoch", 3, "epochs"),
        ("optimiser", {"_target_": "torch.optim.SGD"}, "optimizer"),
    ],
)
def test_the_suggestion_is_a_setting_of_the_same_kind(name: str, value: Any, nearest: str) -> None:
    found = nearest_setting(name, value, TRAIN["seg_kd"], TRAIN["seg_kd"])
    assert found == nearest
    if not isinstance(value, dict):
        with pytest.raises(WrongSettingError, match=f"did you mean '{nearest}'"):
            check_given(TRAIN["seg_kd"], {name: value})


def test_a_word_is_not_suggested_for_a_number() -> None:
    # nearest by its letters alone is teacher_epochs
    assert nearest_setting("teacher_epoch", "segresnet", TRAIN["seg_kd"], TRAIN["seg_kd"]) != "teacher_epochs"
    assert nearest_setting("teacher_epoch", 3, TRAIN["seg_kd"], TRAIN["seg_kd"]) == "teacher_epochs"
