from __future__ import annotations

from ckdmed.sections.scored import scored_items


def test_sections_of_a_configuration_may_be_a_test_set_alone():
    items = [{"id": "a", "image": "a.nii.gz"}, {"id": "b", "image": "b.nii.gz", "labelled": False}]
    assert scored_items({"test": items}, "test") == items[:1]
