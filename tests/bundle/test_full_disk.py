"""A disk that fills in each stage of a distillation: the cause is named, and the run goes on when there is room."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from tests.bundle.seg_kd_runs import BUNDLE, command, environment
from tests.bundle.test_failing_starts import hashes
from tests.reliability.outcomes_of_runs import differences, outcome
from tests.small_disk import SmallDisk, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.bundle]

ROOM = 65536


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", ROOM) as made:
        yield made


def started(words: list[str], succeeds: bool = True) -> str:
    """Run a command; returns the last line on stderr."""
    status = 0 if succeeds else 2 if "ckdmed" in words else 1
    done = subprocess.run(words, cwd=BUNDLE, env=environment(), capture_output=True, text=True, errors="replace")
    assert done.returncode == status, done.stderr[-3000:]
    return [line for line in done.stderr.splitlines() if line.strip()][-1]


def names_full_disk(line: str, place: Path) -> str:
    """Check the last line of a run that found no room; returns the file that it names, relative to ``place``."""
    assert line.startswith(f"error: '{place}/"), line
    assert "No space left on device" in line and "Free some space there" in line and "--resume true" in line
    return line.split("'")[1].removeprefix(f"{place}/")


def test_training(disk: SmallDisk):
    def train(succeeds: bool = True, **more: Any) -> str:
        return started(command(disk.place / "out", epochs=2, cache="disk", cache_teacher="disk", **more), succeeds)

    train()
    unbroken = outcome(disk.place, same_sources=False)
    written = disk.written()
    # the first file of each stage; there is half a page more than lay there before it
    stages = ("phantoms", "cache/slices", "teacher/teacher.pt", "tensorboard", "cache/teacher", "models/model.pt")
    sizes = {stage: next(before for name, before in written if name.startswith(f"out/{stage}")) for stage in stages}
    # TensorBoard's file is opened before the student begins and written until the end
    sizes["tensorboard"] = sizes["cache/teacher"] - 4
    named = set()
    for stage, before in sizes.items():
        shutil.rmtree(disk.place / "out")
        disk.resize(max(before, 4) + 2)
        named.add(names_full_disk(train(succeeds=False), disk.place))
        disk.resize(ROOM)
        train(resume="true")
        assert differences(unbroken, outcome(disk.place, same_sources=False)) == [], stage
    # which file of a stage it is follows from how the files before it fill their blocks
    for stage in ("cache/slices", "teacher"):
        assert any(name.startswith(f"out/{stage}/") for name in named), named


def test_a_start_over_a_finished_run_changes_nothing(disk: SmallDisk):
    started(command(disk.place / "out", method="supervised"))
    before = hashes(disk.place / "out")
    disk.resize(disk.used_kib())
    names_full_disk(
        started(command(disk.place / "out", method="supervised", resume="true", val_interval=2), succeeds=False),
        disk.place,
    )
    assert "holds an earlier run" in started(command(disk.place / "out", method="supervised"), succeeds=False)
    assert hashes(disk.place / "out") == before


def test_slice_cache_and_prepare(disk: SmallDisk, tmp_path: Path):
    cases = tmp_path / "cases"
    write_brats_phantoms(cases, 3, (24, 24, 16), progress=False)
    tool = [sys.executable, "-m", "ckdmed"]
    started([*tool, "brats-datalist", str(cases), "--out", str(cases / "datalist.json")])
    for name, source, *options in (("slice-cache", cases / "datalist.json"), ("prepare", cases, "--keep-spacing")):
        words = [*tool, name, str(source), "--out", str(disk.place / name), *options]
        started(words)
        unbroken, used = hashes(disk.place), disk.used_kib()
        for share in (0.2, 0.7):
            shutil.rmtree(disk.place / name)
            disk.resize(int(share * used))
            line = started(words, succeeds=False)
            assert "No space left on device" in line and "Free some space there" in line and str(disk.place) in line
            disk.resize(ROOM)
            started(words)
            assert set(hashes(disk.place)) == set(unbroken)
        shutil.rmtree(disk.place / name)


def test_inference(disk: SmallDisk, tmp_path: Path):
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=4, size=64, progress=False)
    weights = tmp_path / "run" / "models" / "model.pt"
    started(command(tmp_path / "run", method="supervised"))
    settings = {
        "dataset_dir": tmp_path / "phantoms",
        "output_dir": disk.place / "out",
        "checkpoint": weights,
        "image_size": 32,
        "student_kind": "unet",
        "student_base": 2,
        "device": "$torch.device('cpu')",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "inference.json", *options]
    started(words)
    unbroken = hashes(disk.place)
    for share in (0.1, 0.5, 0.9):
        used = disk.used_kib()
        shutil.rmtree(disk.place / "out")
        disk.resize(int(share * used))
        named = names_full_disk(started(words, succeeds=False), disk.place)
        disk.resize(ROOM)
        started([*words, "--resume", "true"])
        found = hashes(disk.place)
        assert set(found) == set(unbroken), (share, named, set(found) ^ set(unbroken))
        masks = [name for name in unbroken if name.endswith(".png")]
        assert masks and all(found[name] == unbroken[name] for name in masks), (share, named)
