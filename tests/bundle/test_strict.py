from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow
from monai.transforms import LoadImaged

from ckdmed.bundle import UnknownSettingError
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.strict import check_settings, unknown_settings
from ckdmed.bundle.typed_settings import taken_from
from ckdmed.data.volume_reader import VolumeReader

ROOT = Path(__file__).resolve().parents[2]

CONFIG: dict[str, Any] = {
    "imports": ["$import ckdmed"],
    "epochs": 3,
    "learning_rate": 0.1,
    "resume": False,
    "note": None,
    "optimizer": {"_target_": "builtins.dict", "lr": "@learning_rate"},
    "train": {"handlers": [], "trainer": {"_target_": "builtins.dict", "max_epochs": "@epochs"}},
    "seen": ["@resume", "@note"],
    "initialize": ["$ckdmed.bundle.check_settings()"],
    "run": ["$@train#trainer", "$@optimizer", "$@seen"],
}


def workflow(folder: Path, config: dict[str, Any] | None = None, **overrides: Any) -> ConfigWorkflow:
    path = folder / "train.json"
    path.write_text(json.dumps(CONFIG if config is None else config))
    return ConfigWorkflow(str(path), meta_file=None, logging_file=False, workflow_type="train", **overrides)


def refused(made: ConfigWorkflow) -> str:
    with pytest.raises(Exception) as raised:
        made.initialize()
    cause = root_cause(raised.value)
    assert isinstance(cause, UnknownSettingError)
    return str(cause)


def test_known_settings_pass(tmp_path: Path):
    made = workflow(tmp_path, epochs=5, learning_rate=0.5)
    made.initialize()
    trainer, optimizer, _ = made.run()
    assert trainer == {"max_epochs": 5} and optimizer == {"lr": 0.5}


@pytest.mark.parametrize(
    ("name", "nearest"), [("epoch", "epochs"), ("learningrate", "learning_rate"), ("Resume", "resume")]
)
def test_mistyped_setting_names_the_nearest(tmp_path: Path, name: str, nearest: str):
    message = refused(workflow(tmp_path, **{name: 1}))
    assert message.startswith(f"'{name}' is not a setting of this bundle; did you mean '{nearest}'?")
    assert "Settings: epochs, learning_rate, note, resume" in message


def test_every_mistake_is_named(tmp_path: Path):
    message = refused(workflow(tmp_path, epoch=1, zzzz=2))
    assert "'epoch' is not a setting" in message and "'zzzz' is not a setting of this bundle. Settings" in message


@pytest.mark.parametrize(
    ("name", "nearest"), [("train#traner", "train::trainer"), ("train#handler", "train::handlers")]
)
def test_mistyped_sections(tmp_path: Path, name: str, nearest: str):
    message = refused(workflow(tmp_path, **{name: 1}))
    assert f"did you mean '{nearest}'?" in message


def test_entry_of_a_section_that_is_not_there_is_refused_by_monai(tmp_path: Path):
    with pytest.raises(KeyError, match="optimiser") as raised:
        workflow(tmp_path, **{"optimiser#lr": 1})
    assert "did you mean 'optimizer'" in str(raised.value.__cause__)


def test_keys_of_components_are_their_constructors_business(tmp_path: Path):
    made = workflow(tmp_path, **{"optimizer#momentum": 0.9, "train#trainer#max_epochs": 7})
    made.initialize()
    trainer, optimizer, _ = made.run()
    assert trainer == {"max_epochs": 7} and optimizer == {"lr": 0.1, "momentum": 0.9}


def test_overlays_may_bring_settings_that_they_read(tmp_path: Path):
    config = dict(CONFIG)
    (tmp_path / "train.json").write_text(json.dumps(config))
    overlay = {"checkpoint": "a.pt", "run": ["$@checkpoint"]}
    (tmp_path / "evaluate.json").write_text(json.dumps(overlay))
    files = [str(tmp_path / "train.json"), str(tmp_path / "evaluate.json")]

    def made(**overrides: Any) -> ConfigWorkflow:
        return ConfigWorkflow(files, meta_file=None, logging_file=False, workflow_type="train", **overrides)

    # what the run of the overlay leaves unread is still a setting of the bundle
    good = made(epochs=2, checkpoint="b.pt")
    good.initialize()
    assert good.run() == ["b.pt"]
    assert "did you mean 'checkpoint'?" in refused(made(checkpont="b.pt"))


def test_a_run_may_have_a_name_without_tracking_that_nobody_typed(tmp_path: Path):
    """MONAI's client of federated learning gives one to every run."""
    workflow(tmp_path, run_name="client").initialize()
    with taken_from(["--config_file", "train.json", "--run_name", "mine"]):
        assert "'run_name' is not a setting" in refused(workflow(tmp_path, run_name="mine"))


def test_words_of_json_from_a_command_line(tmp_path: Path):
    made = workflow(tmp_path, resume="true", note="null")
    made.initialize()
    assert made.run()[2] == [True, None]
    again = workflow(tmp_path, resume="False")
    again.initialize()
    assert again.run()[2] == [False, None]


def test_settings_in_use_by_expressions_and_macros():
    config = {
        "a": 1,
        "b": 2,
        "c": {"d": 3},
        "lost": 4,
        "x": "$@a + 1",
        "y": ["%b"],
        "run": ["@x", {"k": "@y"}, "$print(@c#d)"],
    }
    assert unknown_settings(config) == ["lost"]


def test_outside_of_a_workflow_nothing_is_checked():
    assert running_workflow() is None
    check_settings()


@pytest.mark.parametrize("path", sorted(ROOT.glob("bundles/*/train.json")), ids=lambda p: p.parent.name)
def test_the_bundles_read_every_setting_that_they_declare(path: Path):
    assert unknown_settings(json.loads(path.read_text(encoding="utf-8"))) == []


def test_a_run_says_nothing_of_a_decoder_that_no_reader_uses() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_settings()
        LoadImaged("image", VolumeReader())  # type: ignore[arg-type]
    assert not found
