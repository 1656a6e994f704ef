"""Freeze parts of a network, their batch-norm statistics included."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from torch import nn

__all__ = ["VGG19_BN_EARLY_LAYERS", "VGG19_EARLY_LAYERS", "freeze", "frozen_paths"]

#: The first three of the five stages, pooling included: of VGG19, and of VGG19 with batch normalisation.
VGG19_EARLY_LAYERS = "features.0-18"
VGG19_BN_EARLY_LAYERS = "features.0-26"

_RANGE = re.compile(r"^(?P<stem>.*\.)?(?P<first>\d+)-(?P<last>\d+)$")


def _expand(module: nn.Module, path: str) -> list[str]:
    """Resolve one path to the names of the submodules it stands for."""
    names = {name for name, _ in module.named_modules()}
    found = _RANGE.match(path)
    if found is None:
        wanted = [path]
    else:
        stem, first, last = found["stem"] or "", int(found["first"]), int(found["last"])
        if last < first:
            raise ValueError(f"Cannot freeze {path!r}: the range runs backwards.")
        wanted = [f"{stem}{number}" for number in range(first, last + 1)]
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
            raise ValueError(
                f"Cannot freeze {path!r}: {type(module).__name__} has no module {name!r}. "
                f"Near it: {', '.join(near) or 'none'}."
            )
    return wanted


def frozen_paths(module: nn.Module) -> list[str]:
    """Names of the submodules that `freeze` has frozen in this module."""
    return list(getattr(module, "_frozen_paths", []))


class _TrainAllButFrozen:
    """Stands in for a module's `train`; a class, not a closure, so that the module can be copied and pickled."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        type(self.module).train(self.module, mode)
        for path in frozen_paths(self.module):
            self.module.get_submodule(path).eval()
        return self.module


def freeze(module: nn.Module, paths: str | Sequence[str]) -> list[str]:
    """Freeze submodules: no gradients, and evaluation mode for good.

    A frozen layer whose batch-norm statistics still follow the training batches is not frozen: its output changes. So
    the frozen parts stay in evaluation mode through every later `train()` of the module or of a network that holds it
    (dropout inside them is off as well). State dicts are unchanged, copies of the module stay frozen, and converting to
    SyncBatchNorm keeps it so. Freeze before the optimiser is made, so that it is given only what can learn.

    Args:
        module: changed in place.
        paths: submodule names; `"features.0-18"` stands for `features.0` up to and including `features.18`.

    Returns:
        The names of all submodules of this module that are frozen now.

    Raises:
        ValueError: a path that names no submodule, with its nearest names; a range that runs backwards.

    Example::

        network = vgg19_bn(num_classes=3)
        freeze(network, VGG19_BN_EARLY_LAYERS)
    """
    names = [name for path in ([paths] if isinstance(paths, str) else paths) for name in _expand(module, path)]
    for name in names:
        module.get_submodule(name).requires_grad_(False)
    frozen = frozen_paths(module)
    module.__dict__["_frozen_paths"] = frozen + [name for name in names if name not in frozen]
    # On the instance, so that the module keeps its class, and with it its names, its script and its checkpoints.
    module.__dict__["train"] = _TrainAllButFrozen(module)
    module.train(module.training)
    return frozen_paths(module)
