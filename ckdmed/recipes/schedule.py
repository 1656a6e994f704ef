"""How a network is trained, by name: optimiser, learning rate and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR, PolynomialLR

__all__ = [
    "RECIPES",
    "of_recipe",
    "of_recipes",
    "one_cycle",
    "rate_of",
    "recipe_options",
    "recipe_optimizer",
    "recipe_schedule",
]

RECIPES = ("adamw", "nnunet", "amsgrad")

# what a recipe has instead of the bundles' defaults
_DEFAULTS: dict[str, dict[str, Any]] = {
    "nnunet": {"learning_rate": 0.01, "weight_decay": 3e-5, "tumour_share": 0.33},
    "amsgrad": {"learning_rate": 0.001, "weight_decay": 1e-6, "loss": "batch_dice_bce"},
}
# of amsgrad: the steps after which the rate falls, and to which part of it
_FALLS, _FALL = (18_000, 32_000, 64_000), 0.2
_MOMENTUM, _POWER, _LARGEST_GRADIENT = 0.99, 0.9, 12.0
# of five levels the heads on the whole, a half and a quarter of the grid count; the coarsest has no weight
_DEEP_SUPERVISION = {"dynunet": {"deep_supervision": True, "deep_supr_num": 2}}


def recipe_optimizer(recipe: str, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> Optimizer:
    """The optimiser of a recipe.

    ======= ===============================================================================================
    recipe  optimiser
    ======= ===============================================================================================
    adamw   AdamW
    nnunet  SGD with Nesterov momentum 0.99, whose gradients are scaled down to a norm of 12 where it is more
    amsgrad Adam with AMSGrad, whose decay is part of the gradients
    ======= ===============================================================================================

    Args:
        recipe: see above.
        params: what learns.
        lr: highest learning rate.
        weight_decay: of the weights.

    Raises:
        ValueError: an unknown recipe.

    Source: nnU-Net's trainer, Isensee et al. 2021 (Nature Methods 18) and its code; amsgrad as in Lachinov et al. 2019
        (arXiv 2002.03688) and its code.
    """
    _check(recipe)
    # Fused: one pass over the weights in place of a dozen, which are a fifth of a step of a wide network on a CPU. Not
    # where a hook changes gradients: a fused step takes them as they were scaled for float16.
    if recipe == "adamw":
        return _resumed_fused(AdamW(params, lr=lr, weight_decay=weight_decay, fused=True))
    if recipe == "amsgrad":
        return _resumed_fused(Adam(params, lr=lr, weight_decay=weight_decay, amsgrad=True, fused=True))
    optimizer = SGD(params, lr=lr, momentum=_MOMENTUM, nesterov=True, weight_decay=weight_decay)
    # by then gradients that were scaled for float16 have their own size again
    optimizer.register_step_pre_hook(_clip)
    return optimizer


def _resumed_fused(optimizer: Optimizer) -> Optimizer:
    """The optimiser, which stays fused when it goes on from the state of one that was not, as of an earlier version."""
    optimizer.register_load_state_dict_pre_hook(_marked_fused)
    return optimizer


def _marked_fused(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "param_groups": [{**group, "fused": True} for group in state["param_groups"]]}


def recipe_schedule(recipe: str, optimizer: Optimizer, max_lr: float, epochs: int, steps_per_epoch: int) -> LRScheduler:
    """The learning rate of a recipe, stepped after each iteration.

    adamw: :func:`one_cycle`. nnunet: ``max_lr (1 - step / steps)^0.9``, which nnU-Net changes once an epoch.
    amsgrad: ``max_lr``, a fifth of what it was after 18000, 32000 and 64000 steps, however long the training is.

    Args:
        recipe, optimizer, max_lr, epochs, steps_per_epoch: see :func:`recipe_optimizer` and :func:`one_cycle`.

    Raises:
        ValueError: an unknown recipe.
    """
    _check(recipe)
    if recipe == "adamw":
        return one_cycle(optimizer, max_lr, epochs, steps_per_epoch)
    if recipe == "amsgrad":
        return MultiStepLR(optimizer, milestones=list(_FALLS), gamma=_FALL)
    return PolynomialLR(optimizer, total_iters=max(epochs * steps_per_epoch, 1), power=_POWER)


def of_recipe(recipe: str, setting: str, default: Any) -> Any:
    """What a setting is where none is given: that of the recipe, or ``default``.

    nnunet: learning_rate 0.01, weight_decay 3e-5, tumour_share 0.33. amsgrad: learning_rate 0.001, weight_decay 1e-6,
    loss batch_dice_bce.
    """
    return _DEFAULTS.get(recipe, {}).get(setting, default)


def rate_of(recipe: str, default: float) -> float:
    """The highest learning rate where none is given, as `of_recipe`."""
    return of_recipe(recipe, "learning_rate", default)


def of_recipes(setting: str) -> dict[str, Any]:
    """Recipe -> its value of a setting, of those that have one."""
    return {recipe: values[setting] for recipe, values in _DEFAULTS.items() if setting in values}


def recipe_options(recipe: str, kind: str) -> dict[str, Any] | None:
    """Further arguments of a network where none are given: deep supervision of nnU-Net's own under its recipe."""
    return dict(_DEEP_SUPERVISION[kind]) if recipe == "nnunet" and kind in _DEEP_SUPERVISION else None


def one_cycle(optimizer: Optimizer, max_lr: float, epochs: int, steps_per_epoch: int) -> OneCycleLR:
    """One cycle over the whole training, stepped after each iteration: up to ``max_lr``, and down to nearly nothing.

    Args:
        optimizer: whose learning rate is set.
        max_lr: the peak.
        epochs, steps_per_epoch: length of the training. The cycle has two steps at least, which PyTorch needs.
    """
    return OneCycleLR(optimizer, max_lr=max_lr, total_steps=max(epochs * steps_per_epoch, 2))


def _clip(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)


def _check(recipe: str) -> None:
    if recipe not in RECIPES:
        raise ValueError(f"the recipe of a training must be one of {', '.join(RECIPES)}, got {recipe!r}.")
