"""The supervised loss of a network that may have several heads."""

from __future__ import annotations

from torch import nn

from ckdmed.networks.segmentation_kinds import head_weights
from ckdmed.recipes.schedule import of_recipe

__all__ = ["loss_for"]


def loss_for(
    network: nn.Module, loss: nn.Module | None = None, exclusive: bool = False, recipe: str = "adamw"
) -> nn.Module:
    """The loss as it is, or over all heads of a network with deep supervision, with the network's weights.

    Args:
        network: the plain network that learns.
        loss: on logits and target; by default :func:`~ckdmed.losses.supervised_segmentation_loss`, with the recipe
            "amsgrad" that of the whole batch.
        exclusive: the targets are masks of regions that exclude each other, and the loss reads class indices.
        recipe: of the training, see :func:`~ckdmed.recipes.recipe_optimizer`.
    """
    # an exported inference needs the recipes, and no losses
    from ckdmed.losses.exclusive_masks import ExclusiveMasks
    from ckdmed.losses.multi_head import MultiHeadLoss
    from ckdmed.losses.supervised import supervised_segmentation_loss

    if loss is None:
        batch_dice = of_recipe(recipe, "loss", None) == "batch_dice_bce"
        loss = supervised_segmentation_loss("softmax" if exclusive else "sigmoid", batch_dice=batch_dice)
    if exclusive:
        loss = ExclusiveMasks(loss)
    weights = head_weights(network)
    return MultiHeadLoss(loss, weights) if weights else loss
