"""The supervised loss of a network that may have several heads."""

from __future__ import annotations

from torch import nn

from ckdmed.networks.segmentation_kinds import head_weights

__all__ = ["loss_for"]


def loss_for(network: nn.Module, loss: nn.Module | None = None, exclusive: bool = False) -> nn.Module:
    """The loss as it is, or over all heads of a network with deep supervision, with the network's weights.

    Args:
        network: the plain network that learns.
        loss: on logits and target; by default :func:`~ckdmed.losses.supervised_segmentation_loss`.
        exclusive: the targets are masks of regions that exclude each other, and the loss reads class indices.
    """
    # an exported inference needs the recipes, and no losses
    from ckdmed.losses.exclusive_masks import ExclusiveMasks
    from ckdmed.losses.multi_head import MultiHeadLoss
    from ckdmed.losses.supervised import supervised_segmentation_loss

    if loss is None:
        loss = supervised_segmentation_loss("softmax" if exclusive else "sigmoid")
    if exclusive:
        loss = ExclusiveMasks(loss)
    weights = head_weights(network)
    return MultiHeadLoss(loss, weights) if weights else loss
