"""A plan that is carried to another machine, broken off there, taken up again, and brought back."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.phantoms.files import write_slice_mat

TOOL = Path(__file__).resolve().parent.parent / "tools/offline_plan.py"
PLAN = TOOL.with_name("evidence_plan.json")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("offline_plan", TOOL)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pieces_of(tool: ModuleType, root: Path, output_dir: Path, size: int) -> list[Path]:
    whole = root.with_suffix(".tar.xz")
    with tarfile.open(whole, "w:xz") as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, arcname=path.name)
    return tool.split(whole, output_dir, size)


@pytest.fixture
def carried(tool: ModuleType, tmp_path: Path) -> Path:
    """Pieces of a plan of two steps, the second of which writes a line a tenth of a second until it has thirty."""
    root = tmp_path / "root"
    root.mkdir()
    # instead of the package, a module of its name that takes the words
    (root / "ckdmed.py").write_text(
        "import sys, time, pathlib\n"
        "file = pathlib.Path(sys.argv[1]); count = int(sys.argv[2])\n"
        "file.parent.mkdir(parents=True, exist_ok=True)\n"
        "done = len(file.read_text().splitlines()) if file.exists() else 0\n"
        "for number in range(done, count):\n"
        "    time.sleep(0.1 if count > 1 else 0)\n"
        "    with file.open('a') as f: f.write(f'{number}\\n')\n"
    )
    steps = [
        {"name": "first", "command": ["one/metrics.jsonl", "1"]},
        {"name": "second", "command": ["two/metrics.jsonl", "30"]},
    ]
    (root / "plan.json").write_text(json.dumps({"steps": steps}))
    (root / "noise").write_bytes(np.random.default_rng(0).bytes(5000))
    pieces = pieces_of(tool, root, tmp_path / "pieces", 2000)
    assert len(pieces) >= 3 and all(piece.stat().st_size <= 2000 for piece in pieces)
    return tmp_path / "pieces"


def test_a_plan_is_taken_up_where_the_time_was_over(carried: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    statuses = []
    for _ in range(10):
        # 40 seconds are for stopping; what is left of 0.69 minutes is 1.4
        words = [sys.executable, str(TOOL), "run", str(carried), "--work_dir", str(work), "--minutes", "0.69"]
        statuses.append(subprocess.run(words, timeout=60, capture_output=True).returncode)
        if statuses[-1] != 75:
            break
    assert statuses[-1] == 0 and 1 < len(statuses) and set(statuses[:-1]) == {75}
    assert (work / "two/metrics.jsonl").read_text().split() == [str(n) for n in range(30)]
    assert (work / "one/metrics.jsonl").read_text().split() == ["0"]
    assert set(json.loads((work / "state.json").read_text())["done"]) == {"first", "second"}


def test_a_damaged_piece_is_named(
    carried: Path, tmp_path: Path, tool: ModuleType, capsys: pytest.CaptureFixture
) -> None:
    piece = carried / "piece-001"
    data = bytearray(piece.read_bytes())
    data[7] ^= 1
    piece.write_bytes(data)
    assert tool.main(["run", str(carried), "--work_dir", str(tmp_path / "work")]) == 2
    assert "piece-001 is damaged" in capsys.readouterr().err
    assert not (tmp_path / "work/unpacked").exists()


def test_a_failing_step_ends_the_part(tool: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "ckdmed.py").write_text("raise SystemExit(3)")
    (root / "plan.json").write_text(json.dumps({"steps": [{"name": "bad", "command": []}]}))
    pieces_of(tool, root, tmp_path / "pieces", 10_000)
    assert tool.main(["run", str(tmp_path / "pieces"), "--work_dir", str(tmp_path / "work")]) == 3


def test_results_fit_and_what_does_not_is_named(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    random = np.random.default_rng(0)
    for name, size in (
        ("records/validation/a.json", 900),
        ("runs/a/metrics.jsonl", 30_000),
        ("runs/b/models/model.pt", 60_000),
    ):
        path = work / "cls" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(random.bytes(size))
    (work / "state.json").write_text("{}")
    assert tool.main(["results", str(work), "--output_dir", str(out), "--files", "2", "--file_bytes", "60000"]) == 1
    printed = capsys.readouterr()
    assert "no room for cls/runs/b/models/model.pt" in printed.err and "3 files" in printed.out
    archives = sorted(out.iterdir())
    assert len(archives) <= 2 and all(path.stat().st_size <= 60_000 for path in archives)
    names = {name for path in archives for name in tarfile.open(path).getnames()}
    before = [path.read_bytes() for path in archives]
    assert tool.main(["results", str(work), "--output_dir", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err and [path.read_bytes() for path in archives] == before
    assert names == {"state.json", "cls/records/validation/a.json", "cls/runs/a/metrics.jsonl"}


def test_slices_are_shrunk_with_mask_and_border(tool: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "slices", tmp_path / "small"
    write_figshare_phantoms(source, n_patients=3, size=96, slices_per_patient=(1, 2), progress=False)
    count = tool.shrink(source, target, 48)
    paths = sorted(path for path in source.rglob("*.mat") if path.name != "cvind.mat")
    assert count == len(paths) >= 3
    for path in paths:
        before, after = read_figshare_slice(path), read_figshare_slice(target / path.relative_to(source))
        assert after.image.shape == after.mask.shape == (48, 48)
        assert (after.patient, after.tumor_label) == (before.patient, before.tumor_label)
        centre = [np.argwhere(one.mask).mean(axis=0) for one in (before, after)]
        assert np.abs((centre[0] + 0.5) / 2 - 0.5 - centre[1]).max() < 0.5
        assert np.abs(after.border.mean(axis=0) - ((before.border + 0.5) / 2 - 0.5).mean(axis=0)).max() < 1e-6
        assert abs(after.mask.sum() * 4 / before.mask.sum() - 1) < 0.25
        mean = before.image.astype(float).reshape(48, 2, 48, 2).mean(axis=(1, 3))
        assert np.corrcoef(mean.ravel(), after.image.astype(float).ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("shape", "shrunk"), [((96, 64), (72, 48)), ((64, 96), (48, 72)), ((40, 64), (40, 64))])
def test_slices_keep_their_proportions(
    tool: ModuleType, tmp_path: Path, shape: tuple[int, int], shrunk: tuple[int, int]
) -> None:
    image, mask = np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.zeros(shape, np.uint8)
    mask[8:24, 32:56] = 1
    corners = np.array([[32.0, 8], [56, 8], [56, 24], [32, 24]]) + 0.5  # (x, y), 1-based
    write_slice_mat(tmp_path / "1.mat", image, mask, corners, 1, "p")
    assert tool.shrink(tmp_path, tmp_path / "small", 48) == 1
    after = read_figshare_slice(tmp_path / "small/1.mat")
    assert after.image.shape == after.mask.shape == shrunk
    rows, columns = np.nonzero(after.mask)
    # the border's corners stay those of the mask's pixels
    low, high = after.border.min(axis=0) + 0.5, after.border.max(axis=0) + 0.5
    assert np.abs(low - (rows.min(), columns.min())).max() < 0.75
    assert np.abs(high - (rows.max() + 1, columns.max() + 1)).max() < 0.75
    factor = shrunk[0] / shape[0]
    assert rows.size == pytest.approx(16 * 24 * factor**2, rel=0.1)


def test_the_plan_of_the_evidence_can_be_read(tool: ModuleType, tmp_path: Path) -> None:
    assert [step["name"] for step in tool.read_plan(PLAN)][0] == "datalist"
    (tmp_path / "plan.json").write_text('{"steps": [{"name": "a", "command": "text"}]}')
    with pytest.raises(ValueError, match="lists of words"):
        tool.read_plan(tmp_path / "plan.json")


def test_two_data_sets_of_one_name_are_not_made_one(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / place / "slices" for place in ("first", "second")]
    for folder in folders:
        folder.mkdir(parents=True)
    words = ["pack", str(PLAN), "--dataset_dir", *map(str, folders), "--output_dir", str(tmp_path / "pieces")]
    assert tool.main(words) == 2 and "slices: two of one name" in capsys.readouterr().err
    assert not (tmp_path / "pieces").exists()


def test_slices_in_linked_folders_are_packed_too(tool: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "slices"
    source.mkdir()
    far = write_figshare_phantoms(tmp_path / "far", 2, (1, 1), 48, progress=False).parent
    (source / "part").symlink_to(far, target_is_directory=True)
    # beside every file of an archive that was packed on macOS
    (far / "._1.mat").write_bytes(b"no slice")
    assert tool.shrink(source, tmp_path / "small", 32) == 2
    packed = sorted(path.relative_to(tmp_path / "small").as_posix() for path in (tmp_path / "small").rglob("*.mat"))
    assert packed == ["cvind.mat", "part/1.mat", "part/2.mat"]
