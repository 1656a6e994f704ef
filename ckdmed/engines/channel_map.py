"""Which channels of one batch each network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["ChannelMap", "view_name"]


def view_name(modalities: Sequence[str]) -> str:
    """A name for a subset of modalities, fit for files and modules: ``t1c+t2f``."""
    return "+".join(modalities)


class ChannelMap:
    """Channels by names of modalities, for networks that see different ones of the same batch.

    All networks are shown the same batch, after its random transforms, and take their own channels from it: so their
    views share one spatial transform and one noise, and their predictions lie on one grid.

    Args:
        modalities: the channels of the batch, in order.
        neighbours: of 2.5-D slices: the batch holds the modalities of 2 * neighbours + 1 slices, slice by slice.

    Raises:
        ValueError: no modalities, one twice, or negative neighbours.

    Example::

        channels = ChannelMap(["t1n", "t1c", "t2w", "t2f"])
        channels(["t2f", "t1c"])  # [3, 1]
    """

    def __init__(self, modalities: Sequence[str], neighbours: int = 0) -> None:
        self.modalities = _distinct(modalities)
        if neighbours < 0:
            raise ValueError(f"neighbours must be 0 or more, got {neighbours}.")
        self.neighbours = int(neighbours)

    def __call__(self, view: Sequence[str]) -> list[int]:
        """Indices of the channels of ``view``, in its order, slice by slice.

        Raises:
            ValueError: no modality, one twice, or one that the batch does not hold.
        """
        wanted = _distinct(view)
        if missing := [name for name in wanted if name not in self.modalities]:
            raise ValueError(f"the data hold {', '.join(self.modalities)}, not {', '.join(missing)}.")
        step = len(self.modalities)
        return [
            number * step + self.modalities.index(name) for number in range(2 * self.neighbours + 1) for name in wanted
        ]

    def views(self, views: Sequence[Sequence[str]]) -> dict[str, list[int]]:
        """The channels of several views by their names, see :func:`view_name`.

        Raises:
            ValueError: as for one view; two views of one name.
        """
        if isinstance(views, Mapping) or any(isinstance(view, str) for view in views):
            raise ValueError(f"views must be a list of lists of modalities, got {views!r}.")
        names = [view_name(view) for view in views]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"there must be at least one view, and each only once, got {names}.")
        return {name: self(view) for name, view in zip(names, views)}


def _distinct(modalities: Sequence[str]) -> list[str]:
    if isinstance(modalities, str) or not modalities or len(set(modalities)) != len(modalities):
        raise ValueError(f"modalities must be a list of names, each once, got {modalities!r}.")
    return list(modalities)
