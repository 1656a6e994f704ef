"""Maps between feature spaces, used while distilling and left out of the exported student.

A trained projection belongs on the student's side. On the teacher's side it is a target the optimiser can move: the
distance falls to 0 as projection and student features shrink to 0 together. `FrozenOrthogonalProjector` is the
teacher-side form that does not collapse, as it has nothing to train.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

__all__ = [
    "ConvProjector",
    "FrozenOrthogonalProjector",
    "TokenProjector",
    "conv_projector",
    "grid_of_tokens",
    "regressor",
    "resizing_projector",
    "to_grid",
    "token_projector",
]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[str, dict[int, type[nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}


class ConvProjector(nn.Module):
    """Convolution, optional norm and activation, then resizing to the teacher's grid: student map to teacher map.

    Axes that shrink are resized by adaptive average pooling, axes that grow by bi- or trilinear interpolation.

    Args:
        in_channels: channels of the student's map, >= 1.
        out_channels: channels of the teacher's map, >= 1.
        spatial_dims: 2 or 3.
        kernel: odd kernel size; 1 mixes channels only.
        norm: "none", "batch" or "instance".
        act: "none" or "relu"; with "relu" the teacher's tap must lie behind a ReLU too, or its negative values can
            never be met.
        size: the teacher's grid; None keeps the student's unless `forward` is given one.

    Shape:
        [B, in_channels, *S] -> [B, out_channels, *size].

    Raises:
        ValueError: spatial_dims other than 2 or 3; an even kernel; unknown norm or act; channels below 1; an input or
            size with other axes or channels.

    Source:
        The regressors of Romero et al. 2015, FitNets (arXiv 1412.6550).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 2,
        kernel: int = 1,
        norm: str = "none",
        act: str = "none",
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check_dims(spatial_dims, in_channels=in_channels, out_channels=out_channels)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it must be odd, so that the grid is kept.")
        if norm not in ("none", *_NORM):
            raise ValueError(f"norm is {norm!r}; it must be 'none', 'batch' or 'instance'.")
        if act not in ("none", "relu"):
            raise ValueError(f"act is {act!r}; it must be 'none' or 'relu'.")
        self.in_channels = in_channels
        self.spatial_dims = spatial_dims
        self.size = None if size is None else tuple(size)
        self.conv = _CONV[spatial_dims](in_channels, out_channels, kernel, padding=kernel // 2)
        self.norm = nn.Identity() if norm == "none" else _NORM[norm][spatial_dims](out_channels)
        self.act = nn.ReLU() if act == "relu" else nn.Identity()

    def forward(self, student: torch.Tensor, size: Sequence[int] | None = None) -> torch.Tensor:
        _check_map(student, self.in_channels, self.spatial_dims)
        projected: torch.Tensor = self.act(self.norm(self.conv(student)))
        grid = self.size if size is None else tuple(size)
        return projected if grid is None else to_grid(projected, grid)


class TokenProjector(nn.Module):
    """Student map to transformer tokens: resize to the token grid, flatten, one linear layer, optional layer norm.

    Args:
        in_channels: channels of the student's map, >= 1.
        width: token width of the teacher, >= 1.
        grid: the teacher's token grid, e.g. (14, 14); its length is the number of spatial axes (2 or 3).
        layer_norm: normalise each token afterwards, as the last layer of a ViT does.

    Shape:
        [B, in_channels, *S] -> [B, N, width], N the product of the grid, in row-major order.

    Raises:
        ValueError: a grid with other than 2 or 3 axes or with sizes below 1; sizes below 1; an input with other axes or
            channels.
    """

    def __init__(self, in_channels: int, width: int, grid: Sequence[int], layer_norm: bool = False) -> None:
        super().__init__()
        _check_dims(len(grid), in_channels=in_channels, width=width)
        if min(grid) < 1:
            raise ValueError(f"grid is {tuple(grid)}; each size must be at least 1.")
        self.in_channels = in_channels
        self.grid = tuple(grid)
        self.linear = nn.Linear(in_channels, width)
        self.norm = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        _check_map(student, self.in_channels, len(self.grid))
        tokens: torch.Tensor = self.norm(self.linear(to_grid(student, self.grid).flatten(2).transpose(1, 2)))
        return tokens


class FrozenOrthogonalProjector(nn.Module):
    """Teacher map to student channels by a fixed random matrix with orthonormal rows (columns when it widens).

    The frozen reading of the reports' formulas that project the teacher. Lengths are preserved when the map widens;
    when it narrows, the part inside a random subspace remains. There is no parameter, so no optimiser can shrink it.

    Args:
        in_channels: channels of the teacher's map, >= 1.
        out_channels: channels of the student's map, >= 1.
        spatial_dims: 2 or 3.
        seed: of the matrix; the global random state is neither used nor changed.

    Shape:
        [B, in_channels, *S] -> [B, out_channels, *S].

    Raises:
        ValueError: spatial_dims other than 2 or 3; channels below 1; an input with other axes or channels.
    """

    weight: torch.Tensor

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int = 2, seed: int = 0) -> None:
        super().__init__()
        _check_dims(spatial_dims, in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.spatial_dims = spatial_dims
        generator = torch.Generator().manual_seed(seed)
        tall = (max(in_channels, out_channels), min(in_channels, out_channels))
        q, r = torch.linalg.qr(torch.randn(tall, generator=generator, dtype=torch.float64))
        q = q * torch.sign(torch.diagonal(r))  # the factorisation leaves the signs open; this fixes them
        matrix = q if out_channels >= in_channels else q.T
        self.register_buffer("weight", matrix.to(torch.float32).contiguous())

    def forward(self, teacher: torch.Tensor) -> torch.Tensor:
        _check_map(teacher, self.in_channels, self.spatial_dims)
        return torch.einsum("oc,bc...->bo...", self.weight.to(teacher.dtype), teacher)


def conv_projector(student: Sequence[int], teacher: Sequence[int]) -> ConvProjector:
    """A 1x1 convolution from maps of the student's shape to the teacher's channels; the grid stays the student's."""
    return ConvProjector(student[1], teacher[1], spatial_dims=len(student) - 2)


def resizing_projector(student: Sequence[int], teacher: Sequence[int]) -> ConvProjector:
    """A 1x1 convolution to the teacher's channels, and on to its grid, for losses that compare equal shapes."""
    return ConvProjector(student[1], teacher[1], spatial_dims=len(student) - 2, size=tuple(teacher[2:]))


def regressor(student: Sequence[int], teacher: Sequence[int]) -> ConvProjector:
    """The regressor of FitNets in its published codes: 1x1 convolution, batch norm and ReLU, on to the teacher's grid.

    The teacher's tap has to lie behind a ReLU, or its negative values can never be met.
    """
    return ConvProjector(
        student[1], teacher[1], spatial_dims=len(student) - 2, norm="batch", act="relu", size=tuple(teacher[2:])
    )


def token_projector(student: Sequence[int], teacher: Sequence[int], prefix: int = 1) -> TokenProjector:
    """From a map [B, C, *S] of the student to a transformer's tokens, whose grid is square or cubic.

    Args:
        student, teacher: shapes; the teacher's is [B, prefix + N, width].
        prefix: class and register tokens, which stand for no position.

    Raises:
        ValueError: the student's feature is no map, the teacher's no tokens, or N no square (cube).
    """
    axes = len(student) - 2
    if axes not in (2, 3) or len(teacher) != 3:
        raise ValueError(f"tokens need a student's map and a teacher's [B, N, width]; got {student} and {teacher}.")
    return TokenProjector(student[1], teacher[2], grid_of_tokens(teacher[1] - prefix, axes), layer_norm=True)


def grid_of_tokens(count: int, axes: int) -> tuple[int, ...]:
    """The grid of equal edges that patch tokens fill.

    Raises:
        ValueError: there is none.
    """
    edge = round(max(count, 0) ** (1 / axes))
    if count < 1 or edge**axes != count:
        raise ValueError(f"the {count} tokens after that of the class do not fill a grid of equal edges.")
    return (edge,) * axes


def _check_dims(spatial_dims: int, **sizes: int) -> None:
    if spatial_dims not in _CONV:
        raise ValueError(f"spatial_dims is {spatial_dims}; it must be 2 or 3.")
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1.")


def _check_map(x: torch.Tensor, channels: int, spatial_dims: int) -> None:
    if x.ndim != spatial_dims + 2 or x.shape[1] != channels:
        raise ValueError(
            f"input has shape {tuple(x.shape)}; [B, {channels}, *S] with {spatial_dims} spatial axes is needed."
        )


def to_grid(x: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """A map [B, C, *S] on another grid: axes that shrink are pooled, axes that grow interpolated."""
    if len(grid) != x.ndim - 2:
        raise ValueError(f"the grid {grid} has {len(grid)} axes; the map of shape {tuple(x.shape)} has {x.ndim - 2}.")
    smaller = tuple(min(have, want) for have, want in zip(x.shape[2:], grid))
    if smaller != tuple(x.shape[2:]):
        x = nn.AdaptiveAvgPool2d(smaller)(x) if x.ndim == 4 else nn.AdaptiveAvgPool3d(smaller)(x)
    if smaller != grid:
        x = F.interpolate(x, size=grid, mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)
    return x
