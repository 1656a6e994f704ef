from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["methods", "--arms", "kd", "--set", "n_folds=4", "cache_teacher_dtype=float16", "teacher_epochs=1"],
            "cache_teacher_dtype (cache_teacher is false); n_folds (fold is null)",
        ),
        (["methods", "--arms", "kd", "--fold", "0", "--set", "n_folds=4", "image_size=32"], None),
        # a teacher's training has these by shorter names
        (["methods", "--arms", "kd", "--set", "teacher_epochs=1", "teacher_view=affine"], None),
        (
            ["methods", "--arms", "kd", "--set", "teacher_kind=unet", "vit_layers=1", "optimizer#fused=false"],
            "vit_layers (the chosen network does not use it)",
        ),
        (
            ["compare", "--arms", "teacher", "alone", "ckd", "alone_longer", "--set", "cache_rate=0.5", "epochs=1"],
            "cache_rate (cache is 'disk')",
        ),
        (["unimodal", "--students", "t1n", "--set", "roi_size=[16,16,16]"], "roi_size (spatial_dims is 2)"),
        (
            ["methods", "--task", "regions", "--arms", "kd", "--set", "spatial_dims=3", "image_size=32"],
            "image_size (spatial_dims is 3)",
        ),
    ],
)
def test_settings_that_no_run_has_a_use_for(
    words: list[str], told: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = [words[0], "--profile", "tiny", "--seeds", "0", "--output_dir", str(tmp_path), *words[1:]]
    assert main(["experiment", *given, "--dry-run"]) == 0
    printed = caplog.text
    assert (f"no effect in any of these runs: {told}." in printed) if told else "no effect" not in printed


def test_what_a_given_teacher_has_learned_is_not_learned_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = Path(__file__).resolve().parents[2] / "bundles" / "seg_kd" / "models" / "model.pt"
    given = ["methods", "--arms", "kd", "--seeds", "0", "--profile", "tiny", "--output_dir", str(tmp_path), "--dry-run"]
    given += ["--teacher_checkpoint", str(teacher), "--set", "teacher_epochs=9", "teacher_kind=efficientnet_lite"]
    assert main(["experiment", *given]) == 0
    assert "no effect in any of these runs: teacher_epochs (no run uses it)." in caplog.text


@pytest.mark.parametrize("name", ["train#optimizer#lr", "validate::mistyped", "optimiser#lr"])
def test_an_entry_of_a_section_that_is_not_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["sizes", "--widths", "2", "--profile", "tiny", "--output_dir", str(tmp_path / "o"), "--set", f"{name}=3"]
    assert main(["experiment", *given]) == 2
    assert f"'{name}' is not a setting of this bundle" in capsys.readouterr().err and not (tmp_path / "o").exists()
