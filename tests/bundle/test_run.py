from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle import finish_run, start_run
from ckdmed.bundle.run import settings_of

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def fill(folder: Path) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "tensorboard").mkdir()
    for name in ("models/model.pt", "metrics.jsonl", "curves.png", "tensorboard/events", "mine.txt"):
        (folder / name).write_text("old")


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_start_clears_what_an_earlier_run_left_and_nothing_else(tmp_path: Path):
    fill(tmp_path)
    start_run(str(tmp_path))
    assert names(tmp_path) == {"mine.txt", "settings.json"}
    record = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert set(record) == {"command", "settings", "versions"} and record["versions"]["torch"] == torch.__version__


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
        assert "validated best" in caplog.text and "done: best dice 0.5000 in epoch 1" in caplog.text
        caplog.clear()
        finish_run(str(tmp_path), last=True)
    assert "weights of the student's last epoch" in caplog.text and "best" not in caplog.text


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
