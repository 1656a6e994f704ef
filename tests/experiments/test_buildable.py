"""What a run would refuse is refused before the trainings that come before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.cli import main
from ckdmed.experiments.buildable import built_loss
from ckdmed.experiments.tasks import TASKS

CACHED = ["augmentation=strong", "cache_teacher=disk"]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["methods", "--arms", "kd", "--set", *CACHED], "kd: cache_teacher keeps"),
        (["methods", "--task", "classification", "--arms", "kd", "--set", *CACHED], "kd: cache_teacher keeps"),
        (["compare", "--arms", "teacher", "alone", "ckd", "--set", *CACHED], "ckd: cache_teacher keeps"),
        (["sizes", "--widths", "2", "--set", *CACHED], "distilled-2: cache_teacher keeps"),
        (["methods", "--arms", "kd", "--set", "exclusive=true", "mixup=0.3"], "supervised: exclusive regions"),
        (
            ["unimodal", "--students", "t1n", "--set", "recipe=nnunet", "labelled_per_batch=0.5"],
            "t1n-alone: labelled_per_batch is 0.5",
        ),
        (
            ["ablation", "--vary", "norm", "batch", "--set", "recipe=nnunet", "tumour_share=0"],
            "base: tumour_share is 0",
        ),
    ],
)
def test_settings_that_contradict_each_other(
    words: list[str], refusal: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["experiment", words[0], "--profile", "tiny", "--seeds", "0", "--output_dir", str(out), *words[1:]]
    assert main([*given, "--dry-run"]) == 2
    assert refusal in capsys.readouterr().err and not out.exists()


def test_they_are_refused_where_the_data_are_drawn_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["methods", "--profile", "tiny", "--seeds", "0", "--phantom_patients", "8", "--output_dir", str(tmp_path)]
    given += ["--phantom_size", "32", "--arms", "kd", "--set", *CACHED]
    assert main(["experiment", *given]) == 2
    assert "kd: cache_teacher keeps" in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("task", TASKS)
def test_a_student_without_a_teacher_caches_nothing(task: str) -> None:
    settings = {**TASKS[task].tiny, "method": "supervised", "augmentation": "strong", "cache_teacher": "disk"}
    if task == "regions":
        del settings["cache_teacher"]
    loss, _ = built_loss(TASKS[task].bundle, settings, undrawn=True)
    assert loss is not None and not loss.needs_teacher
