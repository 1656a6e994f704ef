"""The exported bundles in use: the commands of their documents, started inside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.export.commands import check_command, commands_of, run_commands, user_files
from tests.export.sampled import SAMPLED
from tests.export.tiny import BUNDLES, ROOT


@pytest.mark.parametrize("bundle", SAMPLED)
def test_commands_of_the_exported_readme_name_what_exists(bundle, exports):
    folder = exports(bundle).folder
    commands = commands_of(folder / "docs" / "README.md")
    assert len(commands) == len(commands_of(ROOT / "bundles" / bundle / "docs" / "README.md")) - 1
    for command in commands:
        check_command(command, folder)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("bundle", BUNDLES)
def test_commands_run_inside_the_exported_bundle(bundle, exports, tmp_path):
    shipped = exports(bundle).folder
    folder = Path(shutil.copytree(shipped, tmp_path / shipped.name))
    evaluate = "python -m monai.bundle run --config_file \"['configs/train.json','configs/evaluate.json']\""
    run_commands([evaluate, *commands_of(folder / "docs" / "README.md")], folder, user_files(bundle, tmp_path / "user"))
    for name in ("models/model.pt", "evaluation/summary.json", "inference/report.json"):
        assert (folder / "output" / name).is_file(), name
    # a first training in the exported bundle leaves the weights that it ships alone
    assert (folder / "models/model.pt").read_bytes() == (shipped / "models/model.pt").read_bytes()
