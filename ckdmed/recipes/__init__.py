"""What the configurations of all bundles share, each once: preprocessing, schedule, handlers and evaluators."""

from __future__ import annotations

from ckdmed.recipes.corrupted import check_corruption, corrupted
from ckdmed.recipes.deep_supervision import loss_for
from ckdmed.recipes.drawing_check import check_drawing
from ckdmed.recipes.evaluators import class_evaluator, mask_evaluator, masks_from_logits, region_evaluator
from ckdmed.recipes.exclusive import check_bundle_teacher, check_exclusive, check_slice_settings
from ckdmed.recipes.profile import sizes_of
from ckdmed.recipes.regions import (
    case_loading,
    case_masks,
    case_predictions,
    case_preprocessing,
    region_augmentation,
    region_preprocessing,
    region_shape,
    whole_regions,
)
from ckdmed.recipes.schedule import (
    RECIPES,
    of_recipe,
    of_recipes,
    one_cycle,
    rate_of,
    recipe_optimizer,
    recipe_options,
    recipe_schedule,
)
from ckdmed.recipes.slices import (
    class_loading,
    class_preprocessing,
    class_probabilities,
    class_slices,
    slice_loading,
    slice_masks,
    slice_predictions,
    slice_preprocessing,
)
from ckdmed.recipes.step_check import check_steps, check_view
from ckdmed.recipes.training import distillation_handlers, training_handlers

__all__ = [
    "RECIPES",
    "case_loading",
    "case_masks",
    "case_predictions",
    "case_preprocessing",
    "check_bundle_teacher",
    "check_corruption",
    "check_drawing",
    "check_exclusive",
    "check_slice_settings",
    "check_steps",
    "check_view",
    "class_evaluator",
    "class_loading",
    "class_preprocessing",
    "class_probabilities",
    "class_slices",
    "corrupted",
    "distillation_handlers",
    "loss_for",
    "mask_evaluator",
    "masks_from_logits",
    "of_recipe",
    "of_recipes",
    "one_cycle",
    "rate_of",
    "recipe_optimizer",
    "recipe_options",
    "recipe_schedule",
    "region_augmentation",
    "region_evaluator",
    "region_preprocessing",
    "region_shape",
    "sizes_of",
    "slice_loading",
    "slice_masks",
    "slice_predictions",
    "slice_preprocessing",
    "training_handlers",
    "whole_regions",
]
