"""The classification teacher: several networks look at the image, a linear layer weighs what they say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ckdmed.networks.freezing import freeze as freeze_modules
from ckdmed.networks.resize import resize_images

__all__ = ["HybridClassifier"]

FUSIONS = ("logits", "features")
FEATURE_INTERFACE = ("forward_features", "feature_size", "last_layer")


def _same_weights(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    if one.keys() != two.keys() or any(value.is_meta for value in one.values()):
        return False
    return all(
        value.shape == two[name].shape and torch.equal(value, two[name].to(value)) for name, value in one.items()
    )


def check_different(branches: Sequence[nn.Module]) -> None:
    """Raise ValueError where two branches have equal weights: they would stay one function."""
    for index, branch in enumerate(branches):
        for other in range(index):
            if branches[other] is branch or _same_weights(branches[other], branch):
                raise ValueError(
                    f"Branches {other} and {index} hold the same weights. Build them one after the other from one "
                    "random state, or give them different checkpoint files or heads."
                )


def check_resolutions(resolutions: Sequence[int] | None) -> list[int]:
    """The edges as a list; none for None.

    Raises:
        ValueError: an edge below 1, or one given twice.
    """
    sizes = [int(size) for size in resolutions or ()]
    if any(size < 1 for size in sizes) or len(set(sizes)) != len(sizes):
        raise ValueError(f"resolutions must be different positive edges, got {sizes}.")
    return sizes


class HybridClassifier(nn.Module):
    """Concatenates what its branches say about an image and puts a linear layer on it; returns raw logits.

    y = W [a(x), b(x)] + c with C logits from either branch, so W is C x 2C. The reports' teachers are configurations
    of it: VGG19 and ViT (hybrid), VGG19 twice, ViT twice. Feature paths: `branches.0.<path>`, `branches.1.<path>`.

    Args:
        branches: two or more networks from an image (B, channels, *spatial) to logits (B, num_classes).
        num_classes: C.
        fuse: "logits", or "features" to concatenate the vectors before the branches' last layers instead. That needs
            branches with a method `forward_features` and the attributes `feature_size` and `last_layer` (its path), as
            `VGG` and `ViTClassifier` have; their last layers are then frozen, because they no longer take part.
        branch_sizes: per branch the spatial size (a number, or one per axis) that the image is resized to for it, or
            None for the image as it is.
        identity_init: start as the sum of the branches' logits, W = [I, I] and c = 0; only with fuse="logits".
        freeze: paths for `freeze`, such as "branches.0.features.0-18".
        resolutions: edges to which the image is resized, one after the other; the logits are their mean. None for the
            image as it is.

    Shape: (B, channels, *spatial) to (B, num_classes).

    Raises:
        ValueError: fewer than two branches, one size per branch not given, `fuse` not known or not served by a branch,
            or two branches with equal weights: frozen they stay one function, and add nothing to each other. In
            forward, a branch that does not return (B, num_classes).

    Example::

        teacher = HybridClassifier([vgg19_bn(3, 3), ViTClassifier(3, 3)], num_classes=3)
    """

    # A constant to TorchScript, which then leaves out the other way to fuse.
    __constants__ = ["fuses_features"]

    def __init__(
        self,
        branches: Sequence[nn.Module],
        num_classes: int,
        fuse: str = "logits",
        branch_sizes: Sequence[int | Sequence[int] | None] = (224, 224),
        identity_init: bool = False,
        freeze: Sequence[str] = (),
        resolutions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(branches) < 2:
            raise ValueError(f"A hybrid needs at least two branches, got {len(branches)}.")
        if len(branch_sizes) != len(branches):
            raise ValueError(f"{len(branches)} branches need as many branch_sizes, got {len(branch_sizes)}.")
        if fuse not in FUSIONS:
            raise ValueError(f"fuse must be one of {', '.join(FUSIONS)}, got {fuse!r}.")
        if fuse != "logits" and identity_init:
            raise ValueError('identity_init sums logits, so it goes with fuse="logits" only.')
        check_different(branches)
        self.branches = nn.ModuleList(branches)
        self.num_classes = num_classes
        self.fuses_features = fuse == "features"
        # 0 leaves the image as it is (TorchScript cannot tell the type of an empty list).
        self.branch_sizes = [
            [0] if size is None else [size] if isinstance(size, int) else [int(axis) for axis in size]
            for size in branch_sizes
        ]
        # 0 leaves the image as it is, here too
        self.resolutions = check_resolutions(resolutions) or [0]
        widths = [num_classes] * len(branches)
        if fuse == "features":
            for index, branch in enumerate(branches):
                lacking = [name for name in FEATURE_INTERFACE if not hasattr(branch, name)]
                if lacking:
                    raise ValueError(
                        f'fuse="features": branch {index} ({type(branch).__name__}) lacks {", ".join(lacking)}; '
                        'use fuse="logits".'
                    )
            # for good, as whoever trains a teacher lets all else learn
            freeze = [*freeze, *(f"branches.{index}.{branch.last_layer}" for index, branch in enumerate(branches))]
            widths = [int(branch.feature_size) for branch in branches]  # type: ignore[arg-type]
        self.classifier = nn.Linear(sum(widths), num_classes)
        if identity_init:
            with torch.no_grad():
                self.classifier.weight.copy_(torch.eye(num_classes).repeat(1, len(branches)))
                self.classifier.bias.zero_()
        if freeze:
            freeze_modules(self, freeze)

    def branch_outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what each branch says: logits, or vectors with fuse="features"."""
        outputs: list[torch.Tensor] = []
        for index, branch in enumerate(self.branches):
            size = self.branch_sizes[index]
            if len(size) == 1:
                size = size * (x.dim() - 2)
            image = resize_images(x, size) if size[0] > 0 else x
            if self.fuses_features:
                outputs.append(branch.forward_features(image))  # type: ignore[operator]
            else:
                logits = branch(image)
                if list(logits.shape) != [x.shape[0], self.num_classes]:
                    raise ValueError(
                        "Branch {} returned shape {}, logits of shape {} are needed.".format(
                            index, list(logits.shape), [x.shape[0], self.num_classes]
                        )
                    )
                outputs.append(logits)
        return outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.resolutions[0] == 0:
            return self.classifier(torch.cat(self.branch_outputs(x), dim=1))
        seen: list[torch.Tensor] = []
        for size in self.resolutions:
            image = resize_images(x, [size] * (x.dim() - 2))
            seen.append(self.classifier(torch.cat(self.branch_outputs(image), dim=1)))
        return torch.stack(seen).mean(dim=0)
