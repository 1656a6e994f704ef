"""The bias that the last convolution of a segmentation network starts with."""

from __future__ import annotations

import math

from torch import nn

__all__ = ["TUMOUR_SHARE", "start_at_prior"]

#: of all pixels, about what a tumour covers
TUMOUR_SHARE = 0.02


def start_at_prior(head: nn.Module, share: float = TUMOUR_SHARE) -> None:
    """Let a network begin with the probability of the foreground that it has over all pixels (Lin et al. 2017, Focal
    loss for dense object detection, section 3.3).

    From a bias of 0 the background, nearly all of an image, first drives the weights of the head below zero, whatever
    they read. Where this happens to every channel of a head over activations that are never negative, no logit can
    exceed the bias any more: such trainings marked nothing for many epochs, and no probability rose far above 0.5.

    Args:
        head: a convolution, which gives the logits; its bias is changed in place.
        share: in (0, 1), probability that each channel starts with.

    Raises:
        ValueError: a share outside (0, 1), or a head without a bias.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share}.")
    bias = head.bias
    if not isinstance(bias, nn.Parameter):
        raise ValueError("a head without a bias has no probability to start with.")
    nn.init.constant_(bias, math.log(share / (1 - share)))
