"""Records in the batch how each sample was flipped."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import RandFlipd, Transform
from monai.transforms.traits import RandomizableTrait

__all__ = ["FLIPS", "FlipStated"]

# the key of a batch that tells how a sample was flipped: bit n is set when spatial axis n was
FLIPS = "flips"


class FlipStated(Transform, RandomizableTrait):
    """Write down which of the flips before it in the chain a sample went through.

    ``data[key]`` becomes the sum of 2**axis over the axes that were flipped: 0 to 3 in two dimensions. The flips draw
    what they would draw without this, and the number passes through collation into the batch. Not for several patches
    of one sample, of which it would tell what the last one went through.

    Args:
        flips: the very objects that stand in the chain, each with one spatial axis.
        key: of the number.

    Raises:
        ValueError: a flip of several axes or of none that is named.

    Examples:
        >>> flips = [RandFlipd(["image"], prob=0.5, spatial_axis=axis) for axis in (0, 1)]
        >>> Compose([*flips, FlipStated(flips)])
    """

    def __init__(self, flips: Sequence[RandFlipd], key: Hashable = FLIPS) -> None:
        self.flips = list(flips)
        self.key = key
        given: list[Any] = [flip.flipper.spatial_axis for flip in self.flips]
        if any(not isinstance(axis, int) or axis < 0 for axis in given):
            raise ValueError(f"each flip must be of one spatial axis, counted from 0, got {given}.")
        self.axes: list[int] = given

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        drawn = sum(1 << axis for axis, flip in zip(self.axes, self.flips) if flip._do_transform)
        return {**data, self.key: drawn}
