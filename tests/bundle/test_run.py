from __future__ import annotations

import errno
import json
import logging
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle import finish_run, output_folder, start_run
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.run import settings_of
from ckdmed.bundle.run_lock import LOCK_NAME, hold, release
from ckdmed.bundle.typed_command import typed_command
from ckdmed.files import DiskFullError
from tests.other_process import after

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def fill(folder: Path) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "tensorboard").mkdir()
    for name in ("models/model.pt", "metrics.jsonl", "curves.png", "tensorboard/events", "mine.txt"):
        (folder / name).write_text("old")


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_start_over_a_run_is_refused_with_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path / "out")
    (tmp_path / "out/models/resume_epoch=0001.pt").write_text("old")
    monkeypatch.setattr("sys.argv", ["/somewhere/python-program", "--epochs", "3", "--output_dir", "out"])
    monkeypatch.setattr("sys.modules", {**sys.modules, "__main__": object()})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedStart) as refusal:
        start_run("out")
    assert str(refusal.value) == (
        "'out' holds an earlier run (metrics.jsonl, curves.png, models/model.pt, ...); nothing in it is overwritten. "
        "To continue it: python-program --epochs 3 --output_dir out --resume true | "
        "To leave it as it is: python-program --epochs 3 --output_dir out-2"
    )
    assert {p.read_text() for p in Path("out").rglob("*") if p.is_file()} == {"old"}


@pytest.mark.parametrize(
    ("name", "goes_on"),
    [
        ("models/resume_epoch=0001.pt", True),
        ("teacher/teacher_resume/resume_epoch=0001.pt", True),
        ("teachers/vgg/teacher.pt", True),
        ("models/model.pt", False),
        ("metrics.jsonl", False),
    ],
)
def test_resume_is_offered_where_there_is_something_to_go_on_with(tmp_path: Path, name: str, goes_on: bool):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("old")
    with pytest.raises(RefusedStart, match="holds an earlier run .*To leave it as it is: ") as refusal:
        start_run(str(tmp_path / "out"))
    assert ("--resume true" in str(refusal.value)) == goes_on


def test_a_run_that_never_finished_an_epoch_is_not_to_be_resumed(tmp_path: Path):
    fill(tmp_path / "out")
    for name in ("models/model.pt", "metrics.jsonl", "curves.png"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out/metrics.jsonl").touch()
    (tmp_path / "out/models/model.json").write_text("{}")
    before = names(tmp_path / "out")
    with pytest.raises(
        RefusedStart, match=r"never finished an epoch \(.*models/model.json.*Delete the folder, or "
    ) as e:
        start_run(str(tmp_path / "out"))
    assert "--resume" not in str(e.value) and str(e.value).endswith(f"--output_dir {tmp_path / 'out-2'}")
    assert names(tmp_path / "out") == before


def test_what_a_failed_start_left_is_no_run(tmp_path: Path):
    for name in ("settings.json", "mine.txt"):
        (tmp_path / name).write_text("old")
    start_run(str(tmp_path))
    finish_run(str(tmp_path))
    assert names(tmp_path) == {"mine.txt", "settings.json"} and (tmp_path / "mine.txt").read_text() == "old"
    record = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert (
        set(record) == {"command", "settings", "components", "versions"}
        and record["versions"]["torch"] == torch.__version__
    )


def test_weights_elsewhere_are_an_earlier_run_too(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.pt").write_text("old")
    with pytest.raises(RefusedStart, match="elsewhere/model.pt"):
        start_run(str(tmp_path / "out"), weights=[str(tmp_path / "elsewhere")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "folder", "message"),
    [
        ("out", False, "out' is where a folder is to be written"),
        ("out/models", False, "models' is where a folder"),
        ("out/metrics.jsonl", True, "metrics.jsonl' is where a file"),
        ("out/models/model.pt", True, "model.pt' is where a file"),
        ("out/settings.json", True, "settings.json' is where a file"),
    ],
)
def test_places_of_the_wrong_kind_are_noticed_at_the_start(tmp_path: Path, place: str, folder: bool, message: str):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(RefusedStart, match=message):
        start_run(str(tmp_path / "out"))


def test_a_folder_that_cannot_be_written_is_noticed_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # who runs the tests may be allowed everything
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RefusedStart, match="cannot be written to"):
        start_run(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_next_folder_is_behind_all_that_hold_a_run(tmp_path: Path):
    assert output_folder(str(tmp_path)) == output_folder(str(tmp_path), resume=True) == str(tmp_path / "output")
    fill(tmp_path / "output")
    assert output_folder(str(tmp_path)) == str(tmp_path / "output-2")
    fill(tmp_path / "output-3")
    (tmp_path / "output-x").mkdir()
    assert output_folder(str(tmp_path)) == str(tmp_path / "output-4")
    assert output_folder(str(tmp_path), resume=True) == str(tmp_path / "output-3")


def test_a_second_process_is_told_of_the_first(tmp_path: Path):
    command = re.escape(shlex.join(typed_command()))
    with after(hold, tmp_path / "out") as first:
        with pytest.raises(RefusedStart, match=rf"in use by another run \(process {first.pid} on .*{command}"):
            start_run(str(tmp_path / "out"), resume=True)
        assert names(tmp_path / "out") == {".run.lock"} and output_folder(str(tmp_path)) != str(tmp_path / "out")
    # a run that was killed leaves no lock
    start_run(str(tmp_path / "out"))
    finish_run(str(tmp_path / "out"))
    assert names(tmp_path / "out") == {"settings.json"}


def test_no_two_runs_leave_their_weights_in_one_folder(tmp_path: Path):
    weights = tmp_path / "weights"
    given: dict[str, Any] = {"ckpt_dir": str(weights), "weights": [str(weights)]}
    with after(partial(start_run, **given), str(tmp_path / "one")) as first:
        with pytest.raises(
            RefusedStart, match=rf"weights' is in use .*process {first.pid} .*another folder for the wei"
        ):
            start_run(str(tmp_path / "two"), **given)
        # nothing is left of the second one, and nothing of the first is touched
        assert not (tmp_path / "two").exists() and names(weights) == {"model.json", ".run.lock"}
    start_run(str(tmp_path / "two"), weights=[str(weights)])
    finish_run(str(tmp_path / "two"))
    assert names(weights) == {"model.json"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), r"cannot be written to \(Permission denied\)"),
        (OSError(errno.EROFS, "Read-only file system"), r"cannot be written to \(Read-only file system\)"),
        (None, "is not a folder, or its parent is not one"),
    ],
)
@pytest.mark.parametrize("place", ["out", "out/deeper"])
def test_a_place_that_is_no_folder_to_write_in_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None, told: str, place: str
):
    def refuse(*_: object, **__: object) -> None:
        raise error or AssertionError

    if error is None:
        (tmp_path / "out").write_text("mine")
    with monkeypatch.context() as patch:
        if error is not None:
            # who runs the tests may be allowed everything
            patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(RefusedStart, match=f"'{tmp_path / place}' {told}.*give another output_dir"):
            hold(tmp_path / place)
    assert error or (tmp_path / "out").read_text() == "mine"


def test_a_lock_for_which_there_is_no_room_names_itself_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFullError, match=f"'{tmp_path / 'out' / LOCK_NAME}' could not be written"):
            hold(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    hold(tmp_path / "out")
    release(tmp_path / "out")


def test_half_written_files_of_killed_runs_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    half = tmp_path / "models" / ".writing-999999999-abc.pt"
    half.parent.mkdir()
    half.write_text("half")
    with caplog.at_level(logging.INFO):
        start_run(str(tmp_path), resume=True)
    assert not half.exists() and half.name in caplog.text


def test_resuming_keeps_everything(tmp_path: Path):
    fill(tmp_path)
    start_run(str(tmp_path), resume=True)
    assert "models/model.pt" in names(tmp_path) and "metrics.jsonl" in names(tmp_path)


def test_another_rank_touches_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fill(tmp_path)
    before = names(tmp_path)
    start_run(str(tmp_path), save=False)
    with caplog.at_level(logging.INFO):
        finish_run(str(tmp_path), save=False)
    assert names(tmp_path) == before and caplog.text == ""


def test_log_goes_above_progress_bars_for_good(tmp_path: Path):
    console = logging.StreamHandler()
    logging.getLogger().addHandler(console)
    start_run(str(tmp_path))
    assert console not in logging.getLogger().handlers
    assert any(type(h).__name__ == "_TqdmLoggingHandler" for h in logging.getLogger().handlers)


def test_finish_says_which_weights_were_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fill(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "metrics": {"dice": 0.5}}\n')
    with caplog.at_level(logging.INFO):
        finish_run(str(tmp_path))
        assert "best validation score" in caplog.text and "done: best dice 0.5000 in epoch 1" in caplog.text
        caplog.clear()
        finish_run(str(tmp_path), last=True)
    assert "weights of the last epoch" in caplog.text and "best" not in caplog.text


def test_finish_names_what_is_there_and_the_folder_last(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    start_run(str(tmp_path))
    rows = [
        {"epoch": 1, "metrics": {"val_mean_dice": 0.5}},
        {"epoch": 2, "metrics": {"val_mean_dice": float("nan")}},
        {"epoch": 3, "metrics": {"val_mean_dice": 0.75}},
        {"epoch": 4},
        {"epoch": 5, "metrics": {"val_mean_dice": 0.75}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level(logging.INFO, logger="ckdmed"):
        finish_run(str(tmp_path))
    lines = [r.getMessage() for r in caplog.records]
    assert [line.split(":")[0] for line in lines[:-1]] == ["metrics.jsonl", "settings.json"]
    assert lines[-1] == f"done: best val_mean_dice 0.7500 in epoch 3. Everything is in {tmp_path.resolve()}"


@pytest.mark.parametrize("content", [None, "", '{"epoch": 1}\n', '{"epoch": 1, "metrics": {"d": NaN}}\n'])
def test_finish_without_a_best_epoch(tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with caplog.at_level(logging.INFO, logger="ckdmed"):
        finish_run(str(tmp_path))
    assert caplog.records[-1].getMessage() == f"done. Everything is in {tmp_path.resolve()}"


def test_settings_are_the_plain_values_evaluated():
    parser = ConfigParser(
        {
            "epochs": 3,
            "batch": "$2 * @epochs",
            "device": "$torch.device('cpu')",
            "optimizer": {"_target_": "builtins.dict"},
            "imports": ["$import torch"],
            "nothing": None,
            "folder": "$'a' + '/b'",
            "network_def": {"_target_": "builtins.dict"},
            "moved": "$@network_def.copy()",
        },
        globals={"torch": "torch"},
    )
    settings = settings_of(parser)
    assert settings == {"epochs": 3, "batch": 6, "device": "cpu", "nothing": None, "folder": "a/b"}


def test_settings_that_are_mappings_are_recorded_as_they_are_written():
    config = {
        "method": {"_target_": "mine.method", "w_logit": 3.0, "_mode_": "callable"},
        "teacher_options": {"features": [2, 4], "weights": "$'a' + 'b'"},
        "optimizer": {"_target_": "torch.optim.AdamW"},
        "epochs": 3,
    }
    parser = ConfigParser(config)
    parser.parse()
    found = settings_of(parser)
    assert found == {key: config[key] for key in ("method", "teacher_options", "epochs")}


@pytest.mark.parametrize(("scores", "told"), [([0.0, 0.0], True), ([0.0, 0.01], False)])
def test_a_training_that_learned_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, scores, told):
    start_run(str(tmp_path))
    rows = [json.dumps({"epoch": epoch, "metrics": {"val_mean_dice": score}}) for epoch, score in enumerate(scores, 1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    finish_run(str(tmp_path))
    assert ("val_mean_dice was 0 after every epoch: the network has learned nothing" in caplog.text) == told
