"""An inverse that interpolates where the way there took means."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import TraceKeys

__all__ = ["SmoothInversed"]


class SmoothInversed(MapTransform):
    """Let ``Invertd`` enlarge by linear interpolation what ``Resized`` made smaller with mode "area".

    MONAI inverts a resize with its own mode, and "area" enlarges in blocks. Put it before ``Invertd``; it changes what
    the image notes of its transforms, and nothing else.

    Args:
        keys: keys of the images whose transforms will be inverted.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            if not isinstance(image, MetaTensor):
                continue
            linear = {2: "bilinear", 3: "trilinear"}[image.ndim - 1]
            operations = []
            for operation in image.applied_operations:
                noted = operation.get(TraceKeys.EXTRA_INFO)
                if isinstance(noted, Mapping) and noted.get("mode") == "area":
                    changed = {**noted, "mode": linear, "align_corners": False}
                    operation = {**operation, TraceKeys.EXTRA_INFO: changed}
                operations.append(operation)
            image.applied_operations = operations
            d[key] = image
        return d
