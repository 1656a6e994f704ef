"""A wheel, built and installed where nothing of the checkout is: what it holds, and that its bundles run."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from tests.install.environments import environment_of, install, run

pytestmark = pytest.mark.slow

BUNDLES = "ckdmed/installed_bundles"
TINY = (
    "--epochs 1 --teacher_epochs 1 --image_size 32 --student_base 4 --teacher_base 4 --vit_img_size 32 --vit_hidden 16"
)
TINY += " --vit_layers 1 --vit_heads 2 --phantom_patients 6 --sections#phantom_size 48"


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # what runs leave in a checkout
    for name in ("bundles/seg_kd/output/models/model.pt", "bundles/cls_teacher/models/model.pt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"a user's own")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*pip, ".", "--wheel-dir", str(folder)], checkout)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, plain_packages: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = environment_of(tmp_path_factory.mktemp("installed") / "environment", plain_packages)
    install(python, str(wheel))
    return python


def files_of_package(python: Path) -> dict[str, int]:
    (package,) = {path.resolve() for path in python.parents[1].glob("lib*/python*/site-packages/ckdmed")}
    return {
        str(path.relative_to(package)): path.stat().st_mtime_ns
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def bundle_run(python: Path, folder: Path, config: str, *words: str) -> str:
    return run([str(python), "-m", "monai.bundle", "run", "--config_file", config, *words], folder)


def test_a_wheel_holds_the_bundles_and_no_results(wheel: Path, checkout: Path):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert {"ckdmed/py.typed", "ckdmed/__init__.pyi"} <= set(sizes)
    bundles = sorted(path.parent.name for path in checkout.glob("bundles/*/metadata.json"))
    assert len(bundles) == 7
    for name in bundles:
        for file in (
            "train.json",
            "evaluate.json",
            "inference.json",
            "metadata.json",
            "logging.conf",
            "docs/README.md",
        ):
            assert f"{BUNDLES}/{name}/{file}" in sizes
    assert max(sizes.values()) <= 10_000_000
    weights = {name for name in sizes if name.endswith(".pt")}
    recorded = {path.parents[1].name for path in checkout.glob("bundles/*/models/model.json")}
    assert "seg_kd" in recorded
    assert weights == {f"{BUNDLES}/{name}/models/model.pt" for name in recorded}
    assert not [name for name in sizes if name.startswith(("tests", "bundles", "tools"))]


def test_the_bundles_of_a_wheel_train_and_infer(python: Path, tmp_path: Path):
    before = files_of_package(python)
    ckdmed = str(python.with_name("ckdmed"))
    listed = dict(line.split(maxsplit=1) for line in run([ckdmed, "bundle"], tmp_path).splitlines())
    assert len(listed) == 7 and all(Path(folder).is_relative_to(python.parents[1]) for folder in listed.values())
    assert "--epochs" in run([ckdmed, "settings", "seg_kd"], tmp_path)
    folder = listed["seg_kd"]

    printed = bundle_run(python, tmp_path, f"{folder}/train.json", *TINY.split())
    assert f"no output_dir is given: this run goes into {tmp_path / 'output'}" in printed
    assert (tmp_path / "output/models/model.pt").is_file()
    printed = bundle_run(python, tmp_path, f"{listed['seg_teacher']}/train.json", *tiny_of(listed["seg_teacher"]))
    assert f"this run goes into {tmp_path / 'output-2'}" in printed
    # the latest run is that of another bundle
    both = f"['{folder}/train.json','{folder}/evaluate.json']"
    bundle_run(python, tmp_path, both, "--image_size", "32", "--student_base", "4", "--phantom_patients", "6")
    assert (tmp_path / "output/evaluation/summary.json").is_file()

    run([ckdmed, "phantoms", "figshare", "slices", "--patients", "2", "--size", "64", "--quiet"], tmp_path)
    printed = bundle_run(python, tmp_path, f"{folder}/inference.json", "--dataset_dir", "slices")
    assert f"the results go into {tmp_path / 'output/inference'}" in printed
    report = json.loads((tmp_path / "output/inference/report.json").read_text(encoding="utf-8"))
    shipped = json.loads(Path(folder, "models/model.json").read_text(encoding="utf-8"))
    assert report["checkpoint_sha256"] == shipped["sha256"]

    run([ckdmed, "bundle", "seg_kd", "mine"], tmp_path)
    assert "it holds files already" in run([ckdmed, "bundle", "seg_kd", "mine"], tmp_path, 2)
    bundle_run(python, tmp_path, "mine/inference.json", "--dataset_dir", "slices")
    assert (tmp_path / "mine/output/inference/report.json").is_file()
    assert files_of_package(python) == before


def tiny_of(folder: str) -> list[str]:
    """Those of the words for small sizes that a bundle has."""
    settings = json.loads(Path(folder, "train.json").read_text(encoding="utf-8"))
    words = TINY.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return [word for pair in pairs if pair[0][2:].split("#")[0] in settings for word in pair]
