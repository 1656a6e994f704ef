"""The recipes against values worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ckdmed.bundle import settings_table
from ckdmed.losses import REGION_LOSSES
from ckdmed.recipes import RECIPES, of_recipe, rate_of, recipe_optimizer, recipe_options, recipe_schedule


def weight(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def test_the_polynomial_rate_of_a_thousand_steps() -> None:
    optimizer = recipe_optimizer("nnunet", [weight(1.0)], 1e-2, 0.0)
    schedule = recipe_schedule("nnunet", optimizer, 1e-2, 10, 100)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # docs of the losses, 12.7: 0.01 (1 - step / 1000)^0.9
    assert rates[0] == 1e-2
    assert rates[500] == pytest.approx(0.00535887, abs=1e-8) and rates[999] == pytest.approx(1.995e-5, abs=1e-8)
    assert optimizer.param_groups[0]["lr"] == 0


def test_two_steps_of_nesterov_momentum() -> None:
    value = weight(1.0)
    optimizer = recipe_optimizer("nnunet", [value], 0.1, 0.02)
    value.grad = torch.tensor([0.48], dtype=torch.float64)
    optimizer.step()
    # g = 0.48 + 0.02; b = g; w = 1 - 0.1 (g + 0.99 b)
    assert value.item() == pytest.approx(1 - 0.1 * (0.5 + 0.99 * 0.5))
    value.grad = torch.tensor([0.5 - 0.02 * float(value)], dtype=torch.float64)
    before = float(value)
    optimizer.step()
    # b = 0.99 * 0.5 + 0.5
    assert float(value) == pytest.approx(before - 0.1 * (0.5 + 0.99 * 0.995))


def test_gradients_above_a_norm_of_12_are_scaled_down_to_it() -> None:
    first, second = weight(0.0), weight(0.0)
    optimizer = recipe_optimizer("nnunet", [first, second], 1.0, 0.0)
    first.grad, second.grad = (torch.tensor([value], dtype=torch.float64) for value in (30.0, 40.0))
    optimizer.step()
    # norm 50: 30 * 12 / 50 = 7.2 and 9.6, each times 1.99
    assert float(first) == pytest.approx(-7.2 * 1.99, rel=1e-6) and float(second) == pytest.approx(
        -9.6 * 1.99, rel=1e-6
    )


@pytest.mark.parametrize(
    ("recipe", "plain"),
    [
        ("adamw", lambda values: torch.optim.AdamW(values, lr=0.1, weight_decay=0.02)),
        ("amsgrad", lambda values: torch.optim.Adam(values, lr=0.1, weight_decay=0.02, amsgrad=True)),
    ],
)
def test_a_fused_step_is_that_of_the_plain_optimizer_and_goes_on_from_its_state(recipe, plain) -> None:
    fused_weight, plain_weight = weight(1.0), weight(1.0)
    fused, slow = recipe_optimizer(recipe, [fused_weight], 0.1, 0.02), plain([plain_weight])
    assert fused.defaults["fused"]
    for gradient in (0.48, -0.3, 0.1):
        fused_weight.grad, plain_weight.grad = (torch.tensor([gradient], dtype=torch.float64) for _ in range(2))
        fused.step()
        slow.step()
        assert fused_weight.item() == pytest.approx(plain_weight.item(), rel=1e-12)
    # a run that an earlier version began, whose optimiser was not fused
    fused.load_state_dict(copy.deepcopy(slow.state_dict()))
    assert all(group["fused"] for group in fused.param_groups)
    fused_weight.grad, plain_weight.grad = (torch.tensor([0.2], dtype=torch.float64) for _ in range(2))
    fused.step()
    slow.step()
    assert fused_weight.item() == pytest.approx(plain_weight.item(), rel=1e-12)


def test_the_usual_recipe_is_adamw_with_one_cycle() -> None:
    optimizer = recipe_optimizer("adamw", [weight(1.0)], 0.01, 0.1)
    assert type(optimizer) is torch.optim.AdamW and optimizer.defaults["weight_decay"] == 0.1
    assert isinstance(recipe_schedule("adamw", optimizer, 0.01, 1, 5), torch.optim.lr_scheduler.OneCycleLR)


def test_amsgrads_two_steps_keep_the_largest_second_moment() -> None:
    value = weight(1.0)
    optimizer = recipe_optimizer("amsgrad", [value], 0.1, 0.5)
    value.grad = torch.tensor([1.5], dtype=torch.float64)
    optimizer.step()
    # the gradient with its decay is 1.5 + 0.5 * 1 = 2; corrected moments 2 and 4
    assert value.item() == pytest.approx(1 - 0.1 * 2 / 2, rel=1e-6)
    value.grad = torch.tensor([-0.5 * float(value)], dtype=torch.float64)
    before = float(value)
    optimizer.step()
    # then 0: m = 0.9 * 0.2; v = 0.999 * 0.004 is below the largest, 0.004
    first, second = 0.18 / (1 - 0.9**2), 0.004 / (1 - 0.999**2)
    assert value.item() == pytest.approx(before - 0.1 * first / second**0.5, rel=1e-6)


def test_amsgrads_rate_falls_to_a_fifth_three_times() -> None:
    optimizer = recipe_optimizer("amsgrad", [weight(1.0)], 1e-3, 0.0)
    schedule = recipe_schedule("amsgrad", optimizer, 1e-3, 1, 100)
    rates = []
    for _ in range(64_001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    falls = {step: rates[step] for step in range(1, len(rates)) if rates[step] != rates[step - 1]}
    assert rates[0] == 1e-3 and falls == pytest.approx({18_000: 2e-4, 32_000: 4e-5, 64_000: 8e-6})


def test_what_a_recipe_brings_along() -> None:
    assert rate_of("nnunet", 0.5) == 0.01 and rate_of("adamw", 0.5) == 0.5
    assert of_recipe("nnunet", "weight_decay", 1.0) == 3e-5 and of_recipe("adamw", "weight_decay", 1.0) == 1.0
    assert recipe_options("nnunet", "dynunet") == {"deep_supervision": True, "deep_supr_num": 2}
    assert recipe_options("nnunet", "unet") is None and recipe_options("adamw", "dynunet") is None
    assert rate_of("amsgrad", 0.5) == 0.001 and of_recipe("amsgrad", "weight_decay", 1.0) == 1e-6
    assert of_recipe("amsgrad", "loss", "bce_dice") == "batch_dice_bce" in REGION_LOSSES
    assert of_recipe("nnunet", "loss", "bce_dice") == "bce_dice" and recipe_options("amsgrad", "dynunet") is None
    assert settings_table.RECIPES == RECIPES
    for make in (
        lambda: recipe_optimizer("sgd", [weight(1.0)], 0.1, 0.0),
        lambda: recipe_schedule("sgd", None, 1, 1, 1),
    ):
        with pytest.raises(ValueError, match="one of adamw, nnunet, amsgrad, got 'sgd'"):
            make()  # type: ignore[arg-type]
