"""A rule that finds decoder stages in a network of any make."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ckdmed.zoo_teacher.errors import TeacherBundleError

__all__ = ["DECODER_STAGES", "decoder_taps"]

#: name of a stage -> how much coarser than the image's its grid is
DECODER_STAGES = {"d4": 8, "d3": 4, "d2": 2, "d1": 1}


@torch.no_grad()
def decoder_taps(
    network: nn.Module, input_shape: tuple[int, ...], stages: Mapping[str, int] = DECODER_STAGES
) -> dict[str, str]:
    """Paths of the last maps on an eighth, a quarter, a half and the whole of the image's grid: d4 to d1.

    One pass of an empty image is watched. Of the modules that run once and give one tensor on a grid, the last one that
    holds two layers with weights or more is the stage (a whole block); without such a one the last of all. Maps with
    the output's number of channels are its head's and do not count; stages that a network lacks are left out.

    Args:
        network: from images to one tensor; in any mode, which it keeps.
        input_shape: (B, C, *spatial) of such an image.
        stages: other names, with how much coarser than the image's their grid is.

    Raises:
        TeacherBundleError: the network cannot take it, or gives something else.
    """
    order: list[tuple[str, tuple[int, ...], bool]] = []
    fired: dict[str, int] = {}

    def watch(name: str, whole: bool) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            fired[name] = fired.get(name, 0) + 1
            if isinstance(output, torch.Tensor) and output.dim() == len(input_shape):
                order.append((name, tuple(output.shape), whole))

        return hook

    modes = [(module, module.training) for module in network.modules()]
    handles = [
        module.register_forward_hook(watch(name, _layers(module) > 1))  # type: ignore[arg-type]
        for name, module in network.named_modules()
        if name
    ]
    device = next(iter(network.parameters()), torch.zeros(())).device
    try:
        network.eval()
        with torch.random.fork_rng(devices=[]):
            logits = network(torch.zeros(input_shape, device=device))
    except (RuntimeError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise TeacherBundleError(
            f"the bundle's {type(network).__name__} cannot take images of shape {list(input_shape)}: {reason}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    if not isinstance(logits, torch.Tensor):
        raise TeacherBundleError(
            f"the bundle's {type(network).__name__} gives a {type(logits).__name__}; a teacher must give only its "
            "logits."
        )
    found = {}
    for stage, factor in stages.items():
        grid = tuple(size // factor for size in input_shape[2:])
        there = [
            (name, whole)
            for name, shape, whole in order
            if shape[2:] == grid and shape[1] != logits.shape[1] and fired[name] == 1
        ]
        blocks = [name for name, whole in there if whole]
        if there:
            found[stage] = blocks[-1] if blocks else there[-1][0]
    return found


def _layers(module: nn.Module) -> int:
    """How many modules with weights of their own are inside."""
    return sum(any(True for _ in inner.parameters(recurse=False)) for inner in module.modules())
