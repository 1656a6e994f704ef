"""Commands that are killed at their writes, one after another, and taken up: they end as if nothing had happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckdmed.cli import main
from ckdmed.data.phantoms import write_brats_phantoms
from tests.bundle import seg_kd_runs
from tests.kills import check_kills

pytestmark = [pytest.mark.bundle, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")]


def command(*words: Any) -> None:
    status = main([str(word) for word in words])
    if status:
        raise RuntimeError(f"{words} ended with {status}")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_brats_phantoms(folder, 3, (24, 24, 16), progress=False)
    command("brats-datalist", folder, "--out", folder / "datalist.json")
    return folder


def test_slice_cache(cases: Path, tmp_path: Path):
    def work(place: Path, _: bool) -> None:
        command("slice-cache", cases / "datalist.json", "--out", place / "slices", "--quiet")

    assert check_kills(work, tmp_path, most=6) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["disk"])
def test_distillation(cache: str, tmp_path: Path):
    def work(place: Path, resume: bool) -> None:
        places = {"cache": "disk", "cache_dir": str(place / "cache")}
        teacher: Any = False if cache == "false" else cache
        seg_kd_runs.run(place / "out", epochs=2, resume=resume, cache_teacher=teacher, **places)

    assert check_kills(work, tmp_path, most=2) == 2
