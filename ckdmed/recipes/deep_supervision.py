"""The supervised loss of a network that may have several heads."""

from __future__ import annotations

from torch import nn

from ckdmed.networks.segmentation_kinds import head_weights

__all__ = ["loss_for"]


def loss_for(network: nn.Module, loss: nn.Module) -> nn.Module:
    """The loss as it is, or over all heads of a network with deep supervision, with the network's weights.

    Args:
        network: the plain network that learns.
        loss: on logits and target.
    """
    # an exported inference needs the recipes, and no losses
    from ckdmed.losses.multi_head import MultiHeadLoss

    weights = head_weights(network)
    return MultiHeadLoss(loss, weights) if weights else loss
