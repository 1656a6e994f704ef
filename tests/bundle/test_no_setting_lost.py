"""Every setting of the configurations before they were written over recipes can still be set, by its name of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle.renamed_settings import NEW_NAMES
from ckdmed.bundle.setting_check import taken_settings
from ckdmed.bundle.settings_table import settings_for
from tests.bundle.bundle_runs import BUNDLES

# file -> its settings at commit d429d22, when each was written out in every configuration
BEFORE: dict[str, str] = json.loads(Path(__file__).with_name("settings_before.json").read_text(encoding="utf-8"))
# what followed from other settings, and was none to set
FOLLOWED = {"teacher_tap"}


@pytest.mark.parametrize("file", sorted(BEFORE))
def test_no_setting_is_lost(file: str) -> None:
    config = ConfigParser.load_config_file(str(BUNDLES / file))
    known = {*config, *taken_settings(config)}
    table = settings_for(config)
    before = set(BEFORE[file].split()) - FOLLOWED
    assert len(before) > 3
    for name in before:
        now = NEW_NAMES.get(name, name)
        assert now in known, f"{name} can no longer be set"
        assert now in table, now
