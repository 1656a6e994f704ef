"""The tables of settings in a bundle's README: none is missing there, and none is there that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import taken_settings
from ckdmed.bundle.settings_table import FOLLOWS
from ckdmed.bundle.trained import reads_record
from tests.bundle.bundle_runs import BUNDLES


def documented(bundle: str) -> dict[str, list[str]]:
    """File -> the settings in the first column of its table."""
    text = (BUNDLES / bundle / "docs" / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Settings\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    tables = re.findall(r"^\| `(\w+\.json)` \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return {
        name: re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in rows.splitlines())) for name, rows in tables
    }


@pytest.mark.parametrize("file", ["train.json", "evaluate.json", "inference.json"])
@pytest.mark.parametrize("bundle", sorted(path.name for path in BUNDLES.iterdir() if (path / "train.json").is_file()))
def test_every_setting_has_its_row(bundle: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLES.parent)
    folder: Path = BUNDLES / bundle
    own = ConfigParser.load_config_file(str(folder / file))
    parser = ConfigParser()
    parser.read_config([str(folder / name) for name in (["train.json", file] if file == "evaluate.json" else [file])])
    settings = {name for name in settings_of(parser) if name in own} - FOLLOWS
    assert {"checkpoint", "dataset_dir"} & settings
    named = documented(bundle)[file]
    assert len(set(named)) == len(named), "a setting stands twice"
    if file == "evaluate.json":
        # those of the training, whose rows are in its table
        settings -= {name for name, value in own.items() if reads_record(value)}
    assert settings <= set(named), "settings without a row"
    taken = taken_settings(own)
    assert taken <= set(named), "options of methods without a row"
    assert set(named) <= {*own, *taken}, "rows of settings that do not exist"
