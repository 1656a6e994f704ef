"""A bundle's README: its tables of settings miss none and name none that does not exist; what validation counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from torch import nn

from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import taken_settings
from ckdmed.bundle.settings_table import FOLLOWS
from ckdmed.bundle.trained import reads_record
from ckdmed.recipes.evaluators import mask_evaluator, region_evaluator
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


@pytest.mark.parametrize("bundle", sorted(path.name for path in BUNDLES.glob("*seg_*")) + ["brats_unimodal_kd"])
def test_the_page_says_what_the_dice_of_validation_leaves_out(bundle: str) -> None:
    text = " ".join((BUNDLES / bundle / "docs" / "README.md").read_text(encoding="utf-8").split())
    (rule,) = re.findall(r"- Best weights: [^`]*`val_mean_dice`(.*?)(?= - | ###)", text)
    assert "does not count" in rule and "the evaluation counts it, with Dice 0 or 1" in rule


def test_validation_leaves_that_out() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, :, :4] = 1
    # all of the second image is marked, which has no tumour
    images = torch.stack([8 * masks[0] - 4, torch.full((1, 8, 8), 4.0)])
    items = [{"image": images[n], "label": masks[n], "case": f"case {n}"} for n in range(2)]
    cpu = torch.device("cpu")
    for evaluator in (
        mask_evaluator(nn.Identity(), DataLoader(items, batch_size=2), cpu),
        region_evaluator(nn.Identity(), DataLoader(items, batch_size=2), cpu, ["WT"]),
    ):
        evaluator.run()
        assert evaluator.state.metrics["val_mean_dice"] == 1
