from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.contradictions import contradictions
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.bundle.workflow import bundle_workflow

CONFIG: dict[str, Any] = {
    "imports": ["$import ckdmed"],
    "epochs": 3,
    "learning_rate": 0.1,
    "num_workers": 0,
    "resume": False,
    "optimizer": {"_target_": "builtins.dict", "lr": "@learning_rate"},
    "schedule": {"_target_": "builtins.dict", "epochs": "@epochs", "rates": ["@learning_rate"]},
    "train": {
        "dataloader": {"_target_": "builtins.dict", "num_workers": "@num_workers"},
        "trainer": {"_target_": "builtins.dict", "max_epochs": "@epochs", "goes_on": "@resume"},
    },
    "validate": {"dataloader": {"_target_": "builtins.dict", "num_workers": "@num_workers"}},
    "initialize": ["$ckdmed.bundle.check_settings()"],
    "run": ["$(@optimizer, @schedule, @train#trainer, @train#dataloader, @validate#dataloader)"],
}
BOTH = {"train#trainer#max_epochs": 7, "schedule#epochs": 7}
EVALUATED = {"trained": "$ckdmed.bundle.trained_with(None)", "run": [*CONFIG["run"], "$@trained"]}


def initialized(folder: Path, **given: Any) -> None:
    (folder / "train.json").write_text(json.dumps(CONFIG))
    bundle_workflow(folder, given).initialize()


@pytest.fixture(autouse=True)
def _no_log_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai.bundle.workflows.fileConfig", lambda *args, **kwargs: None)
    (tmp_path / "logging.conf").write_text("")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"train#trainer#max_epochs": 7},
            "--train#trainer#max_epochs 7 contradicts the setting epochs, which is also read by schedule#epochs: "
            "give --epochs 7 instead.",
        ),
        ({"train::trainer::max_epochs": 7, "epochs": 5}, "give --epochs 7 instead"),
        ({"train#trainer#max_epochs": "$@epochs + 1"}, "contradicts the setting epochs"),
        ({"optimizer#lr": 0.2}, "the setting learning_rate, which is also read by schedule#rates#0"),
    ],
)
def test_an_entry_that_contradicts_what_else_follows_its_setting_is_refused(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception) as raised:
        initialized(tmp_path, **given)
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError) and message in str(cause)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 7, "train#trainer#max_epochs": 7},
        {"train#trainer#max_epochs": "@epochs"},
        BOTH,
        {"optimizer#momentum": 0.9},
        {"optimizer": {"_target_": "builtins.dict", "lr": 0.2}},
        # each loader has as many as suit it
        {"train#dataloader#num_workers": 2},
        # nothing else reads the setting
        {"train#trainer#goes_on": True},
        # what was begun so goes on so
        {"train#trainer#max_epochs": 7, "resume": True},
        # an evaluation has the settings of the training's record, and not its entries
        {"train#trainer#max_epochs": 7, **EVALUATED},
    ],
)
def test_what_contradicts_nothing_is_given_to_the_component(tmp_path: Path, given: dict[str, Any]) -> None:
    initialized(tmp_path, **given)


def test_the_setting_is_named_with_what_reads_it_however_many_do() -> None:
    config = {"epochs": 3, **{name: {"n": "@epochs"} for name in "abcde"}}
    (told,) = contradictions(config, config, {"a#n": 4}, config.get)
    assert told.startswith("--a#n 4 contradicts the setting epochs, which is also read by b#n, c#n, d#n and others")


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("train#trainer#max_epochs", 3, "epochs"),
        ("lr_scheduler#epochs", 3, "epochs"),
        ("optimizer#lr", 0.5, "learning_rate"),
        ("train#augmentation#img_size", 17, "image_size"),
        ("distillation_loss#method", "kd", "method"),
        ("window_inferer#roi_size", [9, 9], None),
        ("validate#dataloader#batch_size", 1, None),
        ("best_model#last", True, None),
        ("inferer#amp", True, None),
        ("optimizer#weight_decay", 0.5, None),
        ("teacher_sampler#slices_per_epoch", 9, None),
        ("train#sampler#num_samples", 9, None),
    ],
)
def test_of_the_bundles(name: str, value: Any, setting: str | None) -> None:
    bundles = Path(__file__).resolve().parents[2] / "bundles"
    told = []
    for path in sorted(bundles.glob("*/train.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        told += contradictions(config, config, {name: value}, config.get)
    assert bool(told) == bool(setting) and all(f"give --{setting} {value} instead" in text for text in told)
