"""Whether a teacher's network has the weights that it teaches with: trained, loaded, or given with the network."""

from __future__ import annotations

from torch import nn

__all__ = ["is_prepared", "mark_prepared"]

_MARK = "prepared_to_teach"


def mark_prepared(network: nn.Module) -> None:
    """Note that the network's weights are no longer those that it was initialised with."""
    setattr(network, _MARK, True)


def is_prepared(network: nn.Module) -> bool:
    """Whether :func:`mark_prepared` was called, or the network came with its weights (``trained_elsewhere``).

    Several networks (the module list or dictionary ``networks``) are prepared when each of them is.
    """
    if getattr(network, _MARK, False) or getattr(network, "trained_elsewhere", None):
        return True
    several = getattr(network, "networks", None)
    return isinstance(several, nn.Module) and all(map(is_prepared, several.children()))
