"""The page on a user's own slices, run as it stands on slices saved as PNG."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle import figshare_sections
from ckdmed.cli import main
from ckdmed.data import read_figshare_slice
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.experiments.records import read_experiment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "own_data.md"
TINY = [
    *("--epochs", "1", "--teacher_epochs", "1", "--image_size", "32", "--student_base", "2", "--teacher_base", "4"),
    *("--vit_img_size", "32", "--vit_hidden", "16", "--vit_layers", "1", "--vit_heads", "2"),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture()
def slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`slices/images` and `slices/masks` as the page has them; the images of one patient have no masks."""
    write_figshare_phantoms(tmp_path / "mat", 11, (2, 2), 48, seed=0, progress=False)
    folder = tmp_path / "slices"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    patients: list[str] = []
    for path in sorted((tmp_path / "mat").glob("[0-9]*.mat")):
        item = read_figshare_slice(path)
        patients = list(dict.fromkeys([*patients, item.patient]))
        name = f"p{patients.index(item.patient)}_{path.stem}.png"
        image = item.image.astype(np.float64)
        Image.fromarray((255 * image / image.max()).astype(np.uint8)).save(folder / "images" / name)
        if item.patient != patients[0]:
            Image.fromarray(item.mask.astype(np.uint8)).save(folder / "masks" / name)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, str(PAGE), "exec"), {})
    return folder


def test_the_list_is_written_in_ten_lines(slices: Path) -> None:
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 11
    items = json.loads((slices / "datalist.json").read_text(encoding="utf-8"))["training"]
    assert len(items) == 22 and sum("label" in item for item in items) == 20
    sections = figshare_sections("slices/datalist.json", "none")
    assert {item["patient"] for item in sections["train"] if not item["labelled"]} == {"p0"}
    patients = {name: {item["patient"] for item in part} for name, part in sections.items()}
    everybody = {item["patient"] for item in items}
    assert set.union(*patients.values()) == everybody and sum(map(len, patients.values())) == len(everybody)
    assert all(patients.values())


@pytest.mark.slow
@pytest.mark.bundle
def test_the_commands_train_evaluate_and_segment(slices: Path) -> None:
    commands, _ = blocks("bash")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    (slices.parent / "bundles").symlink_to(ROOT / "bundles")
    for command in commands.replace("\\\n", " ").strip().splitlines():
        words = shlex.split(command)
        sized = TINY if "evaluate" not in command and "inference" not in command else []
        done = subprocess.run([sys.executable, *words[1:], *sized], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads(Path("own/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["n_patients"] == 1 and summary["per_class"] == {}
    assert len(list(Path("own-masks").glob("p*_mask.png"))) == 22


@pytest.mark.slow
def test_methods_are_compared_on_them(slices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, experiments = blocks("bash")
    masks, classes = (shlex.split(command)[1:] for command in experiments.strip().splitlines())
    tiny = ["--profile", "tiny"]
    assert main([*masks, *tiny, "--seeds", "0", "--set", "epochs=1", "teacher_epochs=1"]) == 0
    records = read_experiment(Path("compared") / "records")
    assert sorted(record.arm for record in records) == ["ckd", "kd", "supervised", "teacher"]
    # the pictures of the page have no class
    assert main([*classes, *tiny]) == 2 and "class" in capsys.readouterr().err
