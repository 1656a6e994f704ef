"""Evaluators of a validation: of masks, of BraTS regions and of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Accuracy, Loss
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.transforms import Activationsd, AsDiscreted, Compose
from monai.utils import CommonKeys
from torch import nn

from ckdmed.handlers.region_dice import RegionDice
from ckdmed.labels import REGIONS
from ckdmed.networks.exclusive_regions import exclusive_regions
from ckdmed.transforms.nested_regions import NestRegionsd

__all__ = ["class_evaluator", "mask_evaluator", "masks_from_logits", "region_evaluator"]

_PREDICTION_AND_LABEL = from_engine([CommonKeys.PRED, CommonKeys.LABEL])


def masks_from_logits(threshold: float = 0.5, regions: Sequence[str] | None = None) -> Compose:
    """Masks from raw logits: where the probability of a channel is at least ``threshold``, in [0, 1].

    Args:
        threshold: see above.
        regions: what the channels are, some of TC, WT and ET, whose masks then lie in one another as in the mask of
            labels that an inference writes, see :class:`~ckdmed.transforms.nested_regions.NestRegionsd`. None for
            channels that have nothing to do with one another.
    """
    pred = CommonKeys.PRED
    nested = [] if regions is None else [NestRegionsd(pred, regions)]
    return Compose([Activationsd(pred, sigmoid=True), AsDiscreted(pred, threshold=threshold), *nested])


def mask_evaluator(
    network: nn.Module, val_data_loader: Any, device: Any, exclusive: bool = False, **settings: Any
) -> SupervisedEvaluator:
    """MONAI's evaluator with ``val_mean_dice``, the mean Dice over samples and channels.

    Args:
        network: gives raw logits.
        val_data_loader, device: as in ``SupervisedEvaluator``.
        exclusive: the logits are those of a softmax over the background and the regions of the label, see
            :class:`~ckdmed.networks.ExclusiveRegions`, which the evaluator runs then.
        settings: its further arguments, such as ``inferer`` and ``val_handlers``; ``postprocessing`` makes masks of the
            logits, by default :func:`masks_from_logits`.
    """
    dice = MeanDice(include_background=True, output_transform=_PREDICTION_AND_LABEL)
    # a deployed file in the network's place gives the regions already
    shown = exclusive_regions(network, exclusive and not hasattr(network, "deployed_sha256"))
    return _evaluator(shown, val_data_loader, device, {"val_mean_dice": dice}, **settings)


def region_evaluator(
    network: nn.Module, val_data_loader: Any, device: Any, regions: Sequence[str] = REGIONS, **settings: Any
) -> SupervisedEvaluator:
    """The same with ``val_mean_dice`` over BraTS ``regions``, see :class:`~ckdmed.handlers.RegionDice`."""
    settings = {"postprocessing": masks_from_logits(regions=regions), **settings}
    return _evaluator(network, val_data_loader, device, {"val_mean_dice": RegionDice(regions)}, **settings)


def class_evaluator(network: nn.Module, val_data_loader: Any, device: Any, **settings: Any) -> SupervisedEvaluator:
    """MONAI's evaluator with ``val_accuracy`` and ``val_loss`` (cross-entropy) of a classifier's raw logits.

    Args:
        network: gives raw logits (B, classes).
        val_data_loader, device: as in ``SupervisedEvaluator``.
        settings: its further arguments.
    """
    return SupervisedEvaluator(
        device=device,
        val_data_loader=val_data_loader,
        network=network,
        key_val_metric={"val_accuracy": Accuracy(output_transform=_PREDICTION_AND_LABEL)},
        additional_metrics={"val_loss": Loss(nn.CrossEntropyLoss(), output_transform=_PREDICTION_AND_LABEL)},
        decollate=False,
        **settings,
    )


def _evaluator(
    network: nn.Module, val_data_loader: Any, device: torch.device, metric: dict[str, Any], **settings: Any
) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=device,
        val_data_loader=val_data_loader,
        network=network,
        key_val_metric=metric,
        **{"postprocessing": masks_from_logits(), **settings},
    )
