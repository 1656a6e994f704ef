from __future__ import annotations

import json

import pytest

from ckdmed.bundle.settings_table import SETTINGS
from ckdmed.data.brats import select_brats_items
from ckdmed.data.image_files import find_inputs
from ckdmed.section_names import section_in
from ckdmed.sections.scored import scored_items


@pytest.mark.parametrize("given", ["train", "training"])
def test_both_names_of_the_training_section_are_taken(given, tmp_path):
    items = [{"id": "a"}]
    assert scored_items({"train": items, "test": []}, given) == items
    assert SETTINGS["section"].kind.convert(given) == "train"
    assert select_brats_items({"training": []}, tmp_path, given) == []
    (tmp_path / "1.png").touch()
    (tmp_path / "list.json").write_text(json.dumps({"training": ["1.png"], "test": []}), encoding="utf-8")
    assert [item.name for item in find_inputs(tmp_path / "list.json", given).items] == ["1"]


def test_other_names_stay_and_errors_list_those_of_the_place(tmp_path):
    assert section_in(("train", "test"), "new") == "new" and section_in(("a", "train", "training"), "train") == "train"
    assert SETTINGS["section"].kind.convert("validation") == "validation"
    with pytest.raises(ValueError, match="there is no section 'tset', only train, test"):
        scored_items({"train": [], "test": []}, "tset")
    with pytest.raises(ValueError, match="section must be one of training, validation, test, got 'tset'"):
        select_brats_items({}, tmp_path, "tset")
