"""What the tests of the experiments share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.experiments import EXPERIMENTS, experiment

pytest.register_assert_rewrite("tests.experiments.trainers")

PHANTOMS = {
    "compare": ["--phantom_patients", "12", "--phantom_size", "48"],
    "table1": ["--phantom_patients", "12", "--phantom_size", "48"],
    "methods": ["--phantom_patients", "12", "--phantom_size", "48"],
    "sweep": ["--phantom_patients", "12", "--phantom_size", "48", "--method", "kd", "--over", "temperature=1"],
    "ablation": ["--phantom_cases", "6", "--phantom_shape", "24", "24", "16"],
    "unimodal": ["--phantom_cases", "8", "--phantom_shape", "32", "32", "16"],
}


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the phantoms of each experiment, small ones."""
    from tests.experiments.trainers import options

    folder = tmp_path_factory.mktemp("phantoms")
    kinds = {**dict.fromkeys(("compare", "table1", "methods", "sweep"), "slices"), "ablation": "a", "unimodal": "u"}
    return {
        name: experiment(name).phantoms(folder / kind, options(name, *PHANTOMS[name])) for name, kind in kinds.items()
    }


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a datalist, whose content matters to nobody here."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "datalist.json").write_text("{}", encoding="utf-8")
    for name in EXPERIMENTS:
        monkeypatch.setattr(experiment(name), "read_datalist", lambda self, path: {"seed": 0})
    return folder


@pytest.fixture(autouse=True)
def _pictures(request: pytest.FixtureRequest) -> None:
    """Pictures are rendered where a test is marked so."""
    if "rendered" not in request.keywords:
        request.getfixturevalue("pictures_not_rendered")
