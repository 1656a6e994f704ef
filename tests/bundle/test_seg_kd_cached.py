"""The settings of the distillation bundle that keep things: slices, and what the teacher said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bundle.seg_kd_runs import run, workflow

pytestmark = pytest.mark.bundle


def weights(folder: Path, **settings: Any) -> tuple[dict[str, torch.Tensor], Any]:
    made = run(folder, epochs=2, **settings)
    return torch.load(folder / "models" / "model.pt", weights_only=True), made


@pytest.mark.slow
def test_what_is_kept_changes_nothing(tmp_path: Path):
    plain, _ = weights(tmp_path / "plain")
    teacher = {"teacher_checkpoint": str(tmp_path / "plain" / "teacher" / "teacher.pt")}
    places = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    kept, made = weights(tmp_path / "kept", cache_teacher="disk", **places, **teacher)
    cache = made.parser.get_parsed_content("teacher_cache")
    assert cache.hits + cache.misses == 2 * len(cache.names) and cache.folder.parent == tmp_path / "cache" / "teacher"
    assert len(list(cache.folder.glob("*.entry"))) == cache.misses
    for name, value in plain.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-3, atol=1e-5)


def test_other_augmentation_and_a_kept_teacher_exclude_each_other(tmp_path: Path):
    with pytest.raises(Exception, match="check_steps") as caught:
        workflow(tmp_path, cache_teacher=True, augmentation="report")
    causes = []
    error: BaseException | None = caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert "augmentation 'report' makes others: set augmentation to 'flips'" in " ".join(causes)
