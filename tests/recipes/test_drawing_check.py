from __future__ import annotations

from typing import Any

import pytest

from ckdmed.recipes import check_drawing


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 3, "neighbours": 1}, "neighbours is 1, but volumes"),
        ({"spatial_dims": 3, "labelled_per_batch": 0.5}, "labelled_per_batch is 0.5, but each volume"),
        ({"spatial_dims": 2, "labelled_per_batch": 0.5, "recipe": "nnunet"}, "uniformly from all slices"),
        ({"spatial_dims": 2, "tumour_share": 0.0, "recipe": "nnunet"}, "^tumour_share is 0.0, but the recipe nnunet"),
        (
            {"spatial_dims": 3, "teacher_tumour_share": 0.0, "teacher_recipe": "nnunet"},
            "^teacher_tumour_share is 0.0, but the recipe nnunet",
        ),
    ],
)
def test_what_a_way_to_draw_has_no_use_for_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_drawing(**settings)


def test_the_rest_goes_together() -> None:
    check_drawing(2, neighbours=1, labelled_per_batch=0.5, tumour_share=0.0, teacher_recipe="nnunet")
    check_drawing(2, teacher_recipe="adamw", teacher_tumour_share=0.0, recipe="nnunet", tumour_share=0.1)
    check_drawing(3, recipe="nnunet", teacher_recipe=None, teacher_tumour_share=0.0)
