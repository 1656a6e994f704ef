"""OFA: early exits of the student compared with the teacher's output, for features that have nothing in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ckdmed.losses.label_forms import LabelledLogitsLoss, as_probabilities
from ckdmed.losses.resizing import resize_to

__all__ = ["ExitsLoss", "OFALoss"]

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, type[nn.Module]] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class OFALoss(LabelledLogitsLoss):
    """Soft targets whose class of the label counts more, the surer the teacher is of it.

    - sum_c [(p_t,c + 1{c = y})^eps - 1{c = y}] log p_s,c, softmax at T = 1, as a mean over samples and positions. With
    eps 1 it is the cross entropy with the teacher's probabilities, whose least value is their entropy, not 0. Sigmoid
    link: the same of each channel's two classes, as a mean over the channels.

    A label with shares of several classes, as mixup gives it, or of the tumour, as a mask has it on a coarser grid, has
    the mean of their losses by its shares: put into the formula, it would weigh a class below 0 that the teacher rules
    out, without a least value. (Of classes, the published code takes the one with the largest share.)

    Args:
        epsilon: eps >= 1; 1.5 of the paper's ImageNet, 1 of its CIFAR.
        link: "softmax", "sigmoid", or "auto" (one channel only).

    Shape:
        student, teacher: raw logits [B, C] or [B, C, *S]. target: softmax link, class indices [B] or [B, 1, *S] or
        probabilities of the logits' shape; sigmoid link, masks of the logits' shape.

    Raises:
        ValueError: eps below 1; unequal shapes; a link or a target that does not fit.

    Source:
        Hao et al. 2023 (arXiv 2310.19444) and its code; the sigmoid form is of this project.
    """

    def __init__(self, epsilon: float = 1.5, link: str = "auto") -> None:
        super().__init__(link)
        if not epsilon >= 1:
            raise ValueError(f"epsilon is {epsilon}; it must be at least 1.")
        self.epsilon = epsilon

    def compare(self, z: torch.Tensor, t: torch.Tensor, label: torch.Tensor, link: str) -> torch.Tensor:
        if link == "softmax":
            return -(self._weights(torch.softmax(t, dim=1), label) * F.log_softmax(z, dim=1)).sum(dim=1).mean()
        inside, outside = self._weights(torch.sigmoid(t), label), self._weights(torch.sigmoid(-t), 1 - label)
        return -(inside * F.logsigmoid(z) + outside * F.logsigmoid(-z)).mean()

    def _weights(self, said: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return label * ((said + 1).pow(self.epsilon) - 1) + (1 - label) * said.pow(self.epsilon)


class ExitsLoss(nn.Module):
    """The sum of a loss between exits of the student's stages and the teacher's logits.

    An exit for classes: separable convolutions of stride 2 down to the grid of the deepest stage, a 1x1 convolution to
    its width, the mean over the positions, a linear layer. An exit for masks: a 1x1 convolution at the stage's own
    resolution, to which the teacher's logits and the label's masks are averaged. Exits learn with the student and are
    no part of it.

    Args:
        layers: names of the student's stages, deepest first.
        loss: of an exit's logits, the teacher's logits and ``target``.

    Call with name -> map of the student, after :meth:`build`.

    Raises:
        ValueError: features that are no maps of two or three axes.
        RuntimeError: it is called before it was built.

    Source: as :class:`OFALoss`.
    """

    def __init__(self, layers: Sequence[str], loss: nn.Module) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.loss = loss
        self.exits = nn.ModuleDict()

    def build(self, student: Mapping[str, Sequence[int]], teacher: Mapping[str, Sequence[int]]) -> None:
        """Make the exits from the shapes [B, C, *S] of the layers and of the logits."""
        classes, dense = student["logits"][1], len(student["logits"]) > 2
        shapes = [student[name] for name in self.layers]
        if wrong := [shape for shape in shapes if len(shape) - 2 not in _CONV]:
            raise ValueError(f"exits need maps of two or three axes; the shapes are {wrong}.")
        smallest, width = min(shape[-1] for shape in shapes), max(shape[1] for shape in shapes)
        for name, shape in zip(self.layers, shapes):
            dims = len(shape) - 2
            if dense:
                self.exits[name] = _CONV[dims](shape[1], classes, 1)
            else:
                self.exits[name] = _class_exit(shape[1], width, classes, dims, _halvings(shape[-1], smallest))

    def forward(self, student: Mapping[str, torch.Tensor], teacher: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not self.exits:
            raise RuntimeError("ExitsLoss was used before it was built for its networks; attach_student builds it.")
        total = teacher.new_zeros(())
        label = target
        if teacher.ndim > 2:
            # of class indices no average can be taken, of the classes' masks it can
            label = as_probabilities(target, teacher, getattr(self.loss, "link", "softmax"))
        for name in self.layers:
            logits = self.exits[name](student[name])
            grid = tuple(logits.shape[2:])
            said = resize_to(teacher, grid) if grid else teacher
            total = total + self.loss(logits, said, target=resize_to(label, grid) if grid else label)
        return total


def _halvings(size: int, smallest: int) -> int:
    count = 0
    while size > smallest:
        size, count = -(-size // 2), count + 1
    return count


def _class_exit(channels: int, width: int, classes: int, dims: int, halvings: int) -> nn.Module:
    conv, norm = _CONV[dims], _NORM[dims]
    parts: list[nn.Module] = []
    for _ in range(halvings):
        parts += [
            conv(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
            conv(channels, channels, 1, bias=False),
            norm(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(
        *parts,
        conv(channels, width, 1, bias=False),
        norm(width),
        nn.ReLU(),
        _POOL[dims](1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )
