"""Channels of an image by the names of its modalities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

__all__ = ["SelectModalitiesd"]


class SelectModalitiesd(MapTransform):
    """Keep the channels of the wanted modalities, in the wanted order.

    The data say under ``names_key`` which modality each channel is, so that a student of T1c alone and files that keep
    their channels in another order (Decathlon's Task01) need no numbers in a config.

    Args:
        keys: keys of the images, channel first.
        modalities: those to keep, each once.
        names_key: key of the list of names. Default "modalities". It becomes the kept ones.
        allow_missing_keys: do not raise if an image's key is missing.

    Shape:
        ``[C, *S]`` to ``[len(modalities), *S]``.

    Raises:
        ValueError: if ``modalities`` is empty or repeats one, the data lack one of them, or the number of names is not
            that of the channels.

    Example::

        SelectModalitiesd("image", ["t1c"])({"image": image, "modalities": ["t1n", "t1c", "t2w", "t2f"]})
    """

    def __init__(
        self,
        keys: KeysCollection,
        modalities: Sequence[str],
        names_key: str = "modalities",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if isinstance(modalities, str) or not modalities or len(set(modalities)) != len(modalities):
            raise ValueError(f"modalities must be a list of names, each once, got {modalities!r}.")
        self.modalities = list(modalities)
        self.names_key = names_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        names = list(d[self.names_key])
        if missing := [name for name in self.modalities if name not in names]:
            raise ValueError(f"the data have the modalities {', '.join(names)}, not {', '.join(missing)}.")
        for key in self.key_iterator(d):
            if len(d[key]) != len(names):
                raise ValueError(f"'{key}' has {len(d[key])} channels, '{self.names_key}' {len(names)} names.")
            d[key] = d[key][[names.index(name) for name in self.modalities]]
        d[self.names_key] = list(self.modalities)
        return d
