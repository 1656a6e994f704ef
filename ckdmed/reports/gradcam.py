from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from monai.visualize import GradCAM
from torch import nn

from .files import save_figure
from .style import new_figure, show_slice, to_image

__all__ = ["gradcam_maps", "plot_gradcam"]


def gradcam_maps(
    model: nn.Module,
    images: torch.Tensor,
    target_layer: str,
    class_index: int | Sequence[int] | None = None,
    n_prefix: int = 1,
) -> np.ndarray:
    """Grad-CAM of each image, scaled to 0 .. 1 (all 0 where no feature supports the class).

    relu(sum over channels of activation * mean gradient), resized to the image. The model is left as it was: hooks are
    removed, modes and ``requires_grad`` restored, gradients untouched; a frozen teacher works as well.

    Args:
        model: maps (B, C, H, W) to logits (B, classes), or to a tuple whose first entry is that.
        images: (B, C, H, W), as the model takes them.
        target_layer: module path, as ``model.named_modules()`` gives it; its output is a map (B, C, h, w), or tokens
            (B, n_prefix + h * w, d) of a square grid.
        class_index: class to explain, one for all or one per image; by default the predicted one.
        n_prefix: class tokens before the grid, where the layer gives tokens.

    Returns:
        (B, H, W) float.

    Raises:
        ValueError: when the model has no such layer or cuts the gradient, when the layer takes no part in the logits,
            or when its output is neither a map nor tokens of a square grid.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017; MONAI's GradCAM.
    """
    if target_layer not in dict(model.named_modules()) or not target_layer:
        near = [name for name, _ in model.named_modules() if name][-8:]
        raise ValueError(f"the model has no layer {target_layer!r}; its last layers are {near}")
    wrapped = _FirstOutput(model)
    maps = []
    with _left_as_it_was(model), torch.enable_grad():
        # the wrapper as well: MONAI puts what it is given back into the mode that it found it in, after every image
        wrapped.eval()
        model.requires_grad_(False)
        cam = _MapGradCAM(wrapped, f"model.{target_layer}", n_prefix)
        for i in range(len(images)):
            # one at a time: MONAI sums the scores of a batch over all predicted classes
            x = images[i : i + 1].detach().clone().requires_grad_(True)
            logits = wrapped(x)
            if not logits.requires_grad:
                raise ValueError("the model cuts the gradient (no_grad or detach); give the network that it wraps")
            if not cam.nn_module.activations:
                raise ValueError(f"layer {target_layer!r} does not contribute to the logits: it was not called")
            wanted = class_index[i] if isinstance(class_index, Sequence) else class_index
            maps.append(cam(x, class_idx=int(logits.argmax(dim=1)) if wanted is None else int(wanted))[0, 0])
    return torch.stack(maps).detach().float().cpu().numpy()


class _FirstOutput(nn.Module):
    """The logits alone, where a network gives more (MONAI's ViT: its hidden states)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _first(self.model(x))


class _MapGradCAM(GradCAM):
    """MONAI's GradCAM for layers that give tokens as well; scaled so that 1 is high, where MONAI's default flips."""

    def __init__(self, model: nn.Module, target_layer: str, n_prefix: int) -> None:
        super().__init__(model, target_layer, postprocessing=_to_unit)
        self.n_prefix = n_prefix

    def compute_map(  # type: ignore[override]  # MONAI's GradCAM widens CAMBase in the same way
        self, x: Any, class_idx: Any = None, retain_graph: bool = False, layer_idx: int = -1, **kwargs: Any
    ) -> torch.Tensor:
        _, activations, gradients = self.nn_module(x, class_idx=class_idx, retain_graph=retain_graph, **kwargs)
        if not gradients:
            raise ValueError(f"layer {self.nn_module.target_layers[0]!r} does not contribute to the logits")
        values, slopes = (_as_map(found[layer_idx], self.n_prefix) for found in (activations, gradients))
        return torch.relu((slopes.mean(dim=(2, 3), keepdim=True) * values).sum(dim=1, keepdim=True))


def _as_map(output: Any, n_prefix: int) -> torch.Tensor:
    tensor = _first(output)
    if tensor.ndim == 4:
        return tensor
    tokens = tensor[:, n_prefix:] if tensor.ndim == 3 else tensor
    side = round(tokens.shape[1] ** 0.5) if tensor.ndim == 3 else 0
    if side < 1 or side * side != tokens.shape[1]:
        raise ValueError(
            f"the layer gives {tuple(tensor.shape)}: neither a map (B, C, h, w) nor {n_prefix} + h * h tokens; "
            "choose another layer or n_prefix"
        )
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, (tuple, list)) else output


def _to_unit(values: torch.Tensor) -> torch.Tensor:
    highest = values.amax(dim=tuple(range(1, values.ndim)), keepdim=True)
    return torch.where(
        highest > 0, values / highest.clamp_min(torch.finfo(values.dtype).tiny), torch.zeros_like(values)
    )


_ON_GREY: dict[str, Any] = {"color": "white", "bbox": {"facecolor": "#222222", "edgecolor": "none", "alpha": 0.7}}


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Undo what MONAI's GradCAM does to a model: hooks that stay, modes, gradients; and our own freezing."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    hooks = [(dict(module._forward_hooks), dict(module._backward_hooks)) for module in modules]
    states = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    # an in-place activation behind the layer would overwrite what its backward hook watches
    inplace = [module for module in modules if getattr(module, "inplace", False) is True]
    try:
        for module in inplace:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in inplace:
            module.inplace = True  # type: ignore[assignment]
        for module, mode, (forward, backward) in zip(modules, modes, hooks):
            module.training = mode
            for present, before in ((module._forward_hooks, forward), (module._backward_hooks, backward)):
                for key in [key for key in present if key not in before]:
                    del present[key]
        for parameter, requires_grad, grad in states:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


def plot_gradcam(
    images: Sequence[Any],
    maps: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
) -> Path:
    """Draw each slice with the maps of several models beside it, teacher and student for example.

    A map that is 0 everywhere says so on its panel.

    Args:
        images: slices (H, W) or (C, H, W); the first channel is shown.
        maps: by model name, (B, H, W) from ``gradcam_maps``; columns in this order.
        path: where the PNG goes.
        titles: a line beside each slice, the truth for example.
        captions: by model name, a line per slice, predicted class and probability for example.
        title: above the grid.

    Raises:
        ValueError: when there are no images or maps, or their numbers or grids differ.
    """
    pictures = [to_image(image) for image in images]
    if not pictures or not maps:
        raise ValueError(f"nothing to draw: {len(pictures)} images, {len(maps)} models")
    for name, values in maps.items():
        if [np.shape(m) for m in values] != [p.shape for p in pictures]:
            raise ValueError(f"the maps of {name!r} and the images differ in number or size")
    rows, columns = len(pictures), len(maps) + 1
    figure = new_figure(2.2 * columns + 0.9, 2.35 * rows + (0.8 if title else 0.45))
    grid = figure.subplots(rows, columns, squeeze=False)
    heat = None
    for i, picture in enumerate(pictures):
        show_slice(grid[i, 0], picture)
        if titles:
            grid[i, 0].set_ylabel(titles[i], fontsize=9)
        for axes, (name, values) in zip(grid[i, 1:], maps.items()):
            show_slice(axes, picture)
            # faint where the map is low, so that the anatomy stays visible
            heat = axes.imshow(values[i], cmap="inferno", vmin=0, vmax=1, alpha=0.75 * np.clip(values[i], 0, 1) ** 0.7)
            if not np.any(values[i]):
                nothing = "empty map: no feature of\nthis layer supports\nthe predicted class"
                axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", va="center", fontsize=8, **_ON_GREY)
            if captions and name in captions:
                axes.set_xlabel(captions[name][i], fontsize=8.5)
    for axes, name in zip(grid[0], ["slice", *maps]):
        axes.set_title(name, fontsize=10)
    scale = figure.colorbar(_opaque(heat), ax=grid, fraction=0.025, pad=0.015, ticks=[0, 1])
    scale.ax.set_yticklabels(["low", "high"], fontsize=8)
    scale.outline.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)


def _opaque(heat: Any) -> ScalarMappable:
    """The colours without the transparency, for the scale."""
    return ScalarMappable(norm=heat.norm, cmap=heat.cmap)
