"""What an export says of the network that it holds, and of one that it was not told of."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.export.held import with_network_named
from tests.export.tiny import config

CARD = "# Model Overview\nA small U-Net,\nwidths 32 to 512.\n\n## Data\nSlices.\n"


def parser_of(**settings: object) -> ConfigParser:
    return ConfigParser({**config("seg_kd", "inference.json"), "checkpoint": "none.pt", **settings})


def test_the_network_and_its_images_stand_after_the_first_paragraph() -> None:
    parser = parser_of(student_kind="unet", student_base=4, image_size=64, scaling="unit")
    card = with_network_named(CARD, "brain_x", nn.Conv2d(1, 2, 3), parser)
    first, told, loading, rest = card.split("\n\n", maxsplit=3)
    assert first.endswith("widths 32 to 512.") and rest == "## Data\nSlices.\n"
    assert "holds a Conv2d with 20 parameters" in told
    assert "`image_size` `64`, `scaling` `unit`, `clahe` `false`, `student_kind` `unet`, `student_base` `4`" in told
    # a U-Net has no such encoder, and where weights lie says nothing of them
    assert "student_backbone" not in told and "checkpoint" not in told
    assert 'load("brain_x", bundle_dir=".", workflow_type="inference")' in loading


def test_settings_of_the_bundles_networks_are_not_told_of_a_network_of_ones_own() -> None:
    parser = parser_of(network_def={"_target_": "torch.nn.Conv2d", "in_channels": "@in_channels"}, image_size=64)
    told = with_network_named(CARD, "brain_x", nn.Conv2d(1, 2, 3), parser)
    assert "`image_size` `64`" in told and "student_kind" not in told


def test_of_the_weights_that_ship_the_text_says_it_all() -> None:
    card = with_network_named(CARD, "brain_x", nn.Conv2d(1, 2, 3), parser_of(), shipped=True)
    assert "This export holds" not in card and "monai.bundle.load" in card


def test_a_card_without_an_overview_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with '# Model Overview'"):
        with_network_named("# Overview\n", "brain_x", nn.Conv2d(1, 2, 3), parser_of())


def test_every_export_says_it(exported: Path) -> None:
    card = (exported / "docs/README.md").read_text(encoding="utf-8")
    assert "This export holds a UNet with 122,021 parameters" in card and "`image_size` `32`" in card
