"""Networks start from the seed, whatever was drawn before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ckdmed.engines import weights_hash
from tests.bundle.bundle_runs import BUNDLES
from tests.bundle.seg_kd_runs import workflow


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_nothing_is_made_before_the_seed_is_set(bundle: str):
    first, second = json.loads((BUNDLES / bundle / "train.json").read_text(encoding="utf-8"))["initialize"][:2]
    assert first == "$ckdmed.bundle.check_settings()"
    assert second.startswith("$ckdmed.bundle.start_process(@device, @seed")


@pytest.mark.bundle
def test_the_same_seed_gives_the_same_networks(tmp_path: Path):
    found = []
    for number, drawn in enumerate((1, 2)):
        torch.manual_seed(drawn)
        made = workflow(tmp_path / str(number))
        found.append([weights_hash(made.parser.get_parsed_content(name)) for name in ("network_def", "teacher_def")])
    assert found[0] == found[1]


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_a_training_looks_whom_its_first_weights_know(bundle: str):
    config = json.loads((BUNDLES / bundle / "train.json").read_text(encoding="utf-8"))
    start = next(
        one for one in config["initialize"] if isinstance(one, dict) and one["_target_"].endswith(".start_training")
    )
    named = json.dumps([start.get("made_from"), start["parts"]])
    first = [name for name in config if name.endswith("_pretrained")]
    assert first and all(f"@{name}" in named for name in first)
