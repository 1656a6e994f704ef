from __future__ import annotations

from typing import Any

import pytest

from ckdmed.methods import distillation_loss
from ckdmed.networks.vit import TRANSFORMER_TAPS
from ckdmed.recipes import check_steps

DECODER = {f"d{level}": f"d{level}" for level in (4, 3, 2, 1)}
TEACHER = {**DECODER, **{name: name for name in TRANSFORMER_TAPS}}


def loss_of(method: str) -> Any:
    return distillation_loss(method, "segmentation", student_taps=TEACHER, teacher_taps=TEACHER)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixup": 0.2, "teacher_folds": 2}, "set mixup to 0 or teacher_folds to 1"),
        ({"mixup": 0.2, "cache_teacher": "memory"}, "set mixup to 0 or cache_teacher to false"),
        ({"augmentation": "report", "cache_teacher": True}, "augmentation 'report' makes others"),
    ],
)
def test_what_one_setting_takes_from_another_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_steps(loss_of("kd"), DECODER, **settings)
    # nobody is asked
    check_steps(loss_of("supervised"), DECODER, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup": 0.2, "augmentation": "report"},
        {"teacher_folds": 2, "cache_teacher": "disk", "augmentation": "horizontal", "student_view": "strong"},
    ],
)
def test_the_rest_goes_together(settings: dict[str, Any]) -> None:
    check_steps(loss_of("kd"), DECODER, **settings)


@pytest.mark.parametrize(
    ("method", "task", "settings", "message"),
    [
        ("dkd", "classification", {"mixup": 0.2}, "mixup is 0.2 .* 'decoupled' needs the one class"),
        ("rkd", "segmentation", {"samples": 2}, "'relations' needs at least 3 images in a batch, but a batch has 2"),
        ("similarity", "segmentation", {"samples": 1}, "needs at least 2 images in a batch, but a batch has 1"),
        ("class_affinity", "regions", {"outputs": 1}, "needs at least 2, but there is 1: give more regions"),
    ],
)
def test_a_term_that_would_have_nothing_to_compare_is_refused(
    method: str, task: str, settings: dict[str, Any], message: str
) -> None:
    taps = TEACHER if task != "classification" else {"msgff": "msgff"}
    loss = distillation_loss(method, task, student_taps=taps, teacher_taps=taps)
    with pytest.raises(ValueError, match=message):
        check_steps(loss, taps, **settings)
    check_steps(loss, taps, **{name: value * 3 if name != "mixup" else 0.0 for name, value in settings.items()})


def test_tokens_cannot_be_moved_along() -> None:
    loss = loss_of("cross_architecture")
    with pytest.raises(ValueError, match="student_view 'strong' moves pixels"):
        check_steps(loss, TEACHER, student_view="strong")
    check_steps(loss, TEACHER, student_view="masked")
    # a teacher without a transformer
    check_steps(loss, DECODER, student_view="strong")
